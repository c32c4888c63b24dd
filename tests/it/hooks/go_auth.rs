//! mosquitto-go-auth 3.0.0 as far as its decisions go: configured by the shipped example, it asks
//! the same questions in the same order, and merges the answers of several backends in the same
//! way.
//!
//! Ported from its `backends/backends.go`, `files/files.go`, `topics/topics.go`, `http.go` and
//! `jwt_remote.go`. An option of the example that it does not know fails the test. Passwords are
//! compared as they are, without a hash.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

use serde_json::{Map, Value};

use super::hooks_daemon::{Asker, HooksDaemon, form_request, json_request};

const EXAMPLE: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/compose/mosquitto/go-auth.conf.example");

/// The access a broker asks for.
pub const READ: u8 = 1;
pub const WRITE: u8 = 2;
pub const SUBSCRIBE: u8 = 4;

/// What is looked at here, and what changes no decision of this port.
const KNOWN: [&str; 20] = [
    "backends",
    "files_password_path",
    "files_acl_path",
    "http_register",
    "jwt_register",
    "http_getuser_uri",
    "http_aclcheck_uri",
    "http_superuser_uri",
    "http_params_mode",
    "http_response_mode",
    "jwt_mode",
    "jwt_getuser_uri",
    "jwt_aclcheck_uri",
    "jwt_superuser_uri",
    "jwt_params_mode",
    "jwt_response_mode",
    "cache",
    "retry_count",
    "http_timeout",
    "jwt_http_timeout",
];
const PLACES: [&str; 4] = ["http_host", "http_port", "jwt_host", "jwt_port"];

/// The plugin, and the sessions of the broker it is loaded into.
pub struct GoAuth {
    options: BTreeMap<String, String>,
    files: Files,
    asker: Asker,
    /// Client id and user name of each session: the broker ends the one whose client id comes
    /// again.
    pub sessions: BTreeMap<String, String>,
}

/// The files backend.
struct Files {
    passwords: BTreeMap<String, String>,
    /// User, access, topic.
    rules: Vec<(String, String, String)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Check {
    User,
    Superuser,
    Acl,
}

/// One question to one backend.
#[derive(Clone, Copy)]
struct Asked<'a> {
    username: &'a str,
    password: &'a str,
    client_id: &'a str,
    topic: &'a str,
    acc: u8,
}

// === impl GoAuth ===

impl GoAuth {
    /// By part `A` or `B` of the example, with the daemon's own login `sluice` and its password,
    /// and these other options.
    pub fn load(hooks: &HooksDaemon<'_>, part: char, changed: &[(&str, &str)]) -> Self {
        let text = fs::read_to_string(EXAMPLE).unwrap();
        let sections: Vec<&str> = text.split("\n# === ").collect();
        let own = sections
            .iter()
            .find(|section| section.starts_with(part))
            .expect("a part of the example");
        let active = |line: &str| Some(line.strip_prefix("auth_opt_")?.to_owned());
        // Of the part that is commented out each option stands at the start of a line.
        let in_comment = |line: &str| Some(line.strip_prefix("#auth_opt_")?.to_owned());
        let mut lines: Vec<String> = sections[1].lines().filter_map(active).collect();
        lines.extend(own.lines().filter_map(if part == 'A' { active } else { in_comment }));
        let mut options: BTreeMap<String, String> = BTreeMap::new();
        for line in lines {
            let (name, value) = line.split_once(' ').expect("a name and a value");
            assert!(
                KNOWN.contains(&name) || PLACES.contains(&name),
                "the port does not know {name}"
            );
            options.insert(name.to_owned(), value.to_owned());
        }
        assert_eq!(options["cache"], "false");
        options
            .extend(changed.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let files = Files::of_comment(sections[1]);
        Self { options, files, asker: hooks.asker(), sessions: BTreeMap::new() }
    }

    /// A CONNECT on a listener with passwords; whether it is accepted. Then a session with that
    /// client id ends.
    pub fn connect(&mut self, username: &str, password: &str, client_id: &str) -> bool {
        // The broker makes no difference between an empty text and none, and the plugin refuses
        // none.
        if username.is_empty() || password.is_empty() {
            return false;
        }
        let asked = Asked { username, password, client_id, topic: "", acc: 0 };
        let is_in =
            self.checkers(Check::User).iter().any(|backend| self.ask(backend, Check::User, asked));
        if is_in {
            self.sessions.insert(client_id.to_owned(), username.to_owned());
        }
        is_in
    }

    /// A CONNECT on a listener with certificates: the common name is the user name, and the plugin
    /// is not asked.
    pub fn connect_by_certificate(&mut self, common_name: &str, client_id: &str) {
        self.sessions.insert(client_id.to_owned(), common_name.to_owned());
    }

    /// Whether the session of this client id may do that.
    pub fn may(&mut self, client_id: &str, acc: u8, topic: &str) -> bool {
        let username = self.sessions.get(client_id).expect("a session").clone();
        if [&*username, client_id].iter().any(|name| name.contains(['+', '#'])) {
            return false;
        }
        let asked = Asked { username: &username, password: "", client_id, topic, acc };
        [Check::Superuser, Check::Acl]
            .into_iter()
            .any(|check| self.checkers(check).iter().any(|backend| self.ask(backend, check, asked)))
    }

    /// The backends that are asked this, in their order.
    fn checkers(&self, check: Check) -> Vec<String> {
        let name = match check {
            Check::User => "user",
            Check::Superuser => "superuser",
            Check::Acl => "acl",
        };
        let registered = |backend: &&str| {
            let only = self.options.get(&format!("{backend}_register"));
            only.is_none_or(|only| only.split(',').any(|word| word.trim() == name))
        };
        self.options["backends"]
            .split(',')
            .map(str::trim)
            .filter(registered)
            .map(str::to_owned)
            .collect()
    }

    fn ask(&mut self, backend: &str, check: Check, asked: Asked<'_>) -> bool {
        match (backend, check) {
            ("files", Check::User) => self
                .files
                .passwords
                .get(asked.username)
                .is_some_and(|known| known == asked.password),
            ("files", Check::Superuser) => false,
            ("files", Check::Acl) => self.files.check(asked),
            ("http" | "jwt", _) => self.ask_remote(backend, check, asked),
            _ => panic!("the port does not know the backend {backend}"),
        }
    }

    fn ask_remote(&mut self, backend: &str, check: Check, asked: Asked<'_>) -> bool {
        let hook = ["getuser", "superuser", "aclcheck"][check as usize];
        let Some(path) = self.options.get(&format!("{backend}_{hook}_uri")).cloned() else {
            return false;
        };
        let mut body = Map::new();
        let mut say = |name: &str, value: Value| body.insert(name.to_owned(), value);
        if backend == "http" {
            say("username", asked.username.into());
        }
        match check {
            Check::User if backend == "http" => {
                say("password", asked.password.into());
                say("clientid", asked.client_id.into());
            }
            Check::Acl => {
                say("clientid", asked.client_id.into());
                say("topic", asked.topic.into());
                say("acc", asked.acc.into());
            }
            Check::User | Check::Superuser => {}
        }
        let bearer = match backend {
            "jwt" => format!("Authorization: Bearer {}\r\n", asked.username),
            _ => String::new(),
        };
        let request = if self.options[&format!("{backend}_params_mode")] == "form" {
            form_request(&path, &bearer, &form(&body))
        } else {
            let body =
                if body.is_empty() { "null".to_owned() } else { Value::from(body).to_string() };
            json_request("POST", &path, &bearer, &body)
        };
        let answer = self.asker.send(request.as_bytes());
        assert!(answer.status < 500, "the plugin would disconnect the client: {answer:?}");
        let is_fine = (200..300).contains(&answer.status);
        is_fine
            && match self.options[&format!("{backend}_response_mode")].as_str() {
                "text" => answer.body == "ok",
                "json" => serde_json::from_str::<Value>(&answer.body).unwrap()["ok"] == true,
                _ => true,
            }
    }
}

// === impl Files ===

impl Files {
    /// The lines the example's comment says the acl file holds.
    fn of_comment(section: &str) -> Self {
        let (mut user, mut rules) = (String::new(), Vec::new());
        for line in section.lines().filter_map(|line| line.strip_prefix("#   ")) {
            match line.split(' ').collect::<Vec<_>>()[..] {
                ["user", name] => name.clone_into(&mut user),
                ["topic", access, topic] => {
                    rules.push((user.clone(), access.to_owned(), topic.to_owned()));
                }
                _ => panic!("no line of an acl file: {line}"),
            }
        }
        assert!(!rules.is_empty() && rules.iter().all(|(user, ..)| !user.is_empty()), "{rules:?}");
        Self {
            passwords: BTreeMap::from([("sluice".into(), "the password of sluice".into())]),
            rules,
        }
    }

    fn check(&self, asked: Asked<'_>) -> bool {
        let fits = |access: &str| match access {
            "readwrite" => true,
            "read" => asked.acc == READ || asked.acc == SUBSCRIBE && asked.topic != "#",
            "subscribe" => asked.acc == SUBSCRIBE,
            "write" => asked.acc == WRITE,
            other => panic!("no access: {other}"),
        };
        let own = self.rules.iter().filter(|(user, ..)| user == asked.username);
        own.into_iter().any(|(_, access, topic)| fits(access) && matches_topic(topic, asked.topic))
    }
}

/// `topics.Match`.
fn matches_topic(saved: &str, given: &str) -> bool {
    fn levels(route: &[&str], topic: &[&str]) -> bool {
        match (route, topic) {
            ([], topic) => topic.is_empty(),
            ([first, ..], []) => *first == "#",
            (["#", rest @ ..], _) => rest.is_empty(),
            ([first, route @ ..], [level, topic @ ..]) => {
                (*first == "+" || first == level) && levels(route, topic)
            }
        }
    }
    let split = |text| -> Vec<&str> { str::split(text, '/').collect() };
    saved == given || levels(&split(saved), &split(given))
}

fn form(body: &Map<String, Value>) -> String {
    let escaped = |text: &str| {
        text.bytes().fold(String::new(), |mut all, byte| {
            if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
                all.push(byte.into());
            } else {
                write!(all, "%{byte:02X}").unwrap();
            }
            all
        })
    };
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let pairs = body.iter().map(|(name, value)| format!("{name}={}", escaped(&text(value))));
    pairs.collect::<Vec<_>>().join("&")
}
