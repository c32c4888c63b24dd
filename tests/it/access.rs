//! The broker's door over HTTP: a real daemon, asked on a raw socket with the bytes that brokers send.

mod devices;
mod exchanges;
mod faults;
mod guests;
mod house;
mod policy;
mod sessions;
