//! The code that the demo shares with the benchmark: the operator as a process.

pub mod operator;
