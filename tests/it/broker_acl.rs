//! The broker's access rules written from the registry, against a real Mosquitto of whichever
//! version the tests run on.

mod acl_fixture;
mod kept;
mod status;
