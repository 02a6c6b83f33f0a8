//! The wire format: paths, operations, inputs, replies and errors. No state and no I/O.

pub(crate) mod input;
pub(crate) mod model;
pub(crate) mod operation;
pub(crate) mod path;
pub(crate) mod reply;
pub(crate) mod route;
