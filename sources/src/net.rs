//! Sockets of sources: addresses as pipelines write them, and datagrams many at a time.

pub mod address;
pub mod datagrams;
