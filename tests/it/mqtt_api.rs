//! Requests over MQTT, by clients of Mosquitto against a real Mosquitto and a real Postgres.

mod callers;
mod coa_client;
mod logins;
mod places;
mod roles;
mod symphony;
