//! stub
crate::trials!();
