//! Keys and tokens by `PyJWT`, made once for all tests.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::{Once, OnceLock};

use serde_json::Value;

use sluice::clock;
use sluice::domain::time::{MICROS_PER_SECOND, Timestamp};

use crate::support::dir::Scratch;
use crate::support::process::run_to_end;

/// Where `tests/pyjwt.sh` puts it; `scripts/test` has called it already.
const PYJWT: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/pyjwt");

/// What the tokens say of their issuer.
pub const ISSUER: &str = "https://id.example.org/realms/plant";

/// What `PyJWT` made.
pub struct Made {
    dir: Scratch,
    tokens: BTreeMap<String, String>,
    /// The moment it was made for.
    pub now: Timestamp,
}

/// The tokens of this test process.
pub fn made() -> &'static Made {
    static MADE: OnceLock<Made> = OnceLock::new();
    MADE.get_or_init(|| {
        let dir = Scratch::new("pyjwt");
        let seconds = clock::now().micros() / MICROS_PER_SECOND;
        let printed = run_to_end(script("tokens.py").arg(dir.path()).arg(seconds.to_string()));
        let now = Timestamp::from_micros(seconds * MICROS_PER_SECOND);
        Made { dir, tokens: serde_json::from_str(&printed).unwrap(), now }
    })
}

/// Header and claims of a token of ours, as `PyJWT` reads them; a token that it does not accept is a
/// panic.
pub fn checked(dir: &Scratch, public_key: &Path, token: &str, audience: &str) -> Value {
    let token = dir.write("token", token);
    let printed = run_to_end(script("check.py").args([public_key, &token]).arg(audience));
    serde_json::from_str(&printed).unwrap()
}

fn script(name: &str) -> Command {
    static INSTALLED: Once = Once::new();
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    INSTALLED.call_once(|| drop(run_to_end(Command::new(here.join("pyjwt.sh")).arg(PYJWT))));
    let mut command = Command::new(Path::new(PYJWT).join("bin/python"));
    command.arg(here.join("it/tokens").join(name));
    command
}

// === impl Made ===

impl Made {
    pub fn token(&self, name: &str) -> &str {
        &self.tokens[name]
    }

    pub fn file(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.file(name)).unwrap()
    }
}
