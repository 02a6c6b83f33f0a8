//! amplify-operator: keeps AWS Amplify (Gen 1) backends in line with Kubernetes custom resources.
//!
//! It is a library only because the program's own tests need its parts. It promises no stable Rust API.

pub mod amplify;
pub mod api;
pub mod apiserver;
pub mod cli;
pub mod clock;
pub mod controller;
pub mod fair_queue;
pub mod import;
mod inventory;
pub mod kinds;
pub mod leader;
pub mod lifecycle;
pub mod operator;
pub mod people;
pub mod proxy;
pub mod random;
pub mod report;
pub mod telemetry;
