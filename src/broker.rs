//! The connection to Mosquitto: one MQTT 5 session that delivers messages and takes back
//! acknowledgements.
//!
//! The only wing that knows MQTT packets. It stores nothing, authorizes no message, and never
//! awaits Postgres.
//!
//! The socket loop is Sluice's own; from rumqttc only the MQTT 5 codec is used, not its event loop.
//! Therefore:
//! - the acknowledgements of a batch are one write, and a message costs a fraction of a
//!   microsecond, not two;
//! - an acknowledgement cannot outlive its connection: the socket and its unwritten bytes end
//!   together;
//! - a PUBLISH that is too large or malformed is skipped, where a codec error would end the session
//!   after every reconnect;
//! - reading can pause (full queue, no Postgres) while acknowledgements and pings continue.
//!
//! In reading order: [`session`] connects and reconnects, and runs the loop of each connection;
//! [`transport`] turns bytes into packets and back; `login` makes the credentials of CONNECT;
//! [`error`] names each failure, with advice. [`exchange`] is the second connection, for requests and
//! for messages to devices. [`remote`] is one connection to another broker, for a link. Apart from the
//! session, [`tools`] inspects the broker, publishes, and ends the sessions of revoked devices.

mod advice;
pub mod error;
pub mod exchange;
pub(crate) mod login;
pub mod remote;
pub mod session;
pub mod setting_names;
pub mod tools;
pub(crate) mod transport;
