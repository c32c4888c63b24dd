//! The broker's door over HTTP: a real daemon, asked on a raw socket with the bytes that brokers send.

mod devices;
mod exchanges;
mod faults;
mod go_auth;
mod guests;
mod house;
mod names;
mod policy;
mod sessions;
