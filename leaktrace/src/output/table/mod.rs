//! The live view on a terminal: records become a model, the model a picture. The view never fetches.

mod draw;
mod head;
mod help;
mod history;
mod model;
mod sites;
mod terminal;
mod verdicts;
mod view;

pub use terminal::{Request, TableOptions, TableView};
