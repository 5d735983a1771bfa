//! The live view on a terminal: records become a model, the model a picture. The view never fetches.
