//! (to be written)
pub mod sys;
