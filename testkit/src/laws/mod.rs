//! The operator's promises as laws over a history. Pure.

pub mod checker;
#[cfg(test)]
mod checker_tests;
pub mod draws;
pub mod history;
