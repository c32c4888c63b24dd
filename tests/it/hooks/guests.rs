//! Guests at login: by a credential of the public endpoint, under their own client ids, to their
//! own topics.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::Value;

use super::hooks_daemon::{HooksDaemon, database};
use crate::support::port;
use crate::support::wait;

#[test]
fn a_guest_has_its_corner_and_nothing_else() {
    let (database, port) = (database(), port::free());
    let hooks = HooksDaemon::start(&database, &[("PUBLIC_BIND", &format!("127.0.0.1:{port}"))]);
    let credential = credential(port);
    let text = |name: &str| credential[name].as_str().unwrap();
    let (name, token, client_id) = (text("username"), text("token"), text("client_id_prefix"));
    let mut asker = hooks.asker();
    asker.login(name, token, client_id).yes();
    asker.login(name, token, "sluice").no("begin with public-");
    asker.login(name, "another", client_id).no("not belong to this guest");
    asker.ask("/mqtt/superuser", &format!(r#"{{"username":"{name}"}}"#)).no("not a superuser");
    asker.acl(name, client_id, 4, "public/#").yes();
    asker.acl(name, client_id, 2, "public/news").yes();
    for (acc, topic) in
        [(4, "#"), (4, "plant/x/readings"), (2, "plant/x/readings"), (4, "$share/g/public/#")]
    {
        asker.acl(name, client_id, acc, topic).no("guest");
    }
    asker.acl(name, "public-other", 4, "public/#").no("no valid login");
    database.wait_until("SELECT kind FROM access_sessions WHERE username LIKE 'guest-%'", "guest");
    database.query("UPDATE access_sessions SET expires_at = now(); UPDATE guest_credentials SET expires_at = now()");
    hooks.daemon.kill9();
    hooks.daemon.start_again();
    hooks.wait_open();
    let mut asker = hooks.asker();
    asker.acl(name, client_id, 4, "public/#").no("no valid login");
    asker.login(name, token, client_id).no("has expired");
}

/// What the public endpoint hands out.
fn credential(port: u16) -> Value {
    wait::until("the public listener is there", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream
        .write_all(
            b"POST /public/credentials HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        )
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1)
        .unwrap_or_else(|error| panic!("{error}: {answer}"))
}
