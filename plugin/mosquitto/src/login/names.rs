//! The names of a login.

use crate::request::LoginRequest;

/// The names of a login as text.
#[derive(Clone, Copy)]
pub(crate) struct Names<'a> {
    pub(crate) client_id: &'a str,
    pub(crate) username: Option<&'a str>,
}

impl<'a> Names<'a> {
    /// `None`: a name is not UTF-8.
    pub(crate) fn of(request: &LoginRequest<'a>) -> Option<Self> {
        let client_id = std::str::from_utf8(request.client_id).ok()?;
        let username = request.username.filter(|name| !name.is_empty());
        let username = username.map(std::str::from_utf8).transpose().ok()?;
        Some(Self { client_id, username })
    }
}
