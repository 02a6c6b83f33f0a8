//! The promises of the operator as laws over a history. Pure.

pub mod checker;
#[cfg(test)]
mod checker_tests;
pub mod draws;
pub mod history;
