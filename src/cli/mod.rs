//! (head to be written by its author)
