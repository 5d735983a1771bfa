//! Snapshots made by hand, made at random, cut and changed.

mod causes;
mod hostile;
mod made;
mod naive;
mod rules;
