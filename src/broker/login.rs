//! Credentials for CONNECT: user name and password from the settings, or a fresh JWT.
//!
//! Every CONNECT with a login gets it here, so none carries an old token. A token made by `jwt` is
//! sent to the broker and stored nowhere.

pub(crate) mod jwt;

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use rumqttc::v5::mqttbytes::v5::{ConnectProperties, Login as Credentials};
use tokio::time::Instant;

use super::error::BrokerError;
use super::setting_names::SettingNames;
use super::transport::malformed::Malformed;
use super::transport::packets::{ConnAck, DisconnectReason};
use super::transport::publish_encoder::put_length;
use crate::clock;
use crate::config::secret::Secret;
use crate::config::sections::broker::{BrokerConfig, BrokerJwt, JwtPlace};
use crate::disk;
use crate::domain::time::{Clock, Timestamp};
use jwt::mint;

/// The method of enhanced authentication, as Azure Event Grid calls it.
const METHOD: &str = "CUSTOM-JWT";

/// Password of a login whose user name is the token: brokers pass an empty password to no plugin.
const NO_PASSWORD: &str = "jwt";

/// Reason codes that refuse a newer token: unspecified, malformed, protocol error, implementation
/// specific, bad credentials, not authorized, bad authentication method.
const REFUSES_TOKEN: [u8; 7] = [0x80, 0x81, 0x82, 0x83, 0x86, 0x87, 0x8c];

/// AUTH.
const AUTH: u8 = 0xf0;
/// Reason code of AUTH for re-authentication.
const REAUTHENTICATE: u8 = 0x19;
/// Property of the method.
const METHOD_PROPERTY: u8 = 0x15;
/// Property of the data.
const DATA_PROPERTY: u8 = 0x16;

/// Credentials of one connection.
pub struct BrokerCredentials {
    /// The user name and password.
    pub credentials: Option<Credentials>,
    /// The token, if it is not part of user name and password.
    enhanced: Option<Bytes>,
    renewal: Option<Renewal>,
}

/// When and how to replace the token of a login.
#[derive(Clone, Copy, Debug)]
pub struct Renewal {
    lifetime: Duration,
    place: JwtPlace,
    /// When the token was made.
    made: Instant,
    /// When a newer one was sent; `None` after the broker's answer.
    sent: Option<Instant>,
    /// Whether the next action is due at once.
    is_early: bool,
}

/// Next action of a renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Nothing yet.
    Nothing,
    /// AUTH with a new token.
    Reauthenticate,
    /// A new connection with a new token.
    Reconnect,
}

// === impl BrokerCredentials ===

impl BrokerCredentials {
    /// Makes credentials for a new connection. Reads a small file and signs: some milliseconds.
    pub fn fresh(
        config: &BrokerConfig,
        names: &SettingNames,
        now: Timestamp,
    ) -> Result<Self, BrokerError> {
        let password = config.password.as_ref().map(Secret::expose);
        let plain = || {
            config
                .username
                .as_deref()
                .map(|name| Credentials::new(name, password.unwrap_or_default()))
        };
        let Some(jwt) = &config.jwt else {
            return Ok(Self { credentials: plain(), enhanced: None, renewal: None });
        };
        let token = mint(jwt, &names.token_key(), now)?;
        let (credentials, enhanced) = match jwt.place {
            JwtPlace::Password => {
                (Some(Credentials::new(config.username.clone().unwrap_or_default(), token)), None)
            }
            JwtPlace::Username => {
                (Some(Credentials::new(token, password.unwrap_or(NO_PASSWORD))), None)
            }
            JwtPlace::Enhanced => (plain(), Some(token.into())),
        };
        Ok(Self { credentials, enhanced, renewal: Some(Renewal::of(jwt)) })
    }

    /// The same, without blocking the caller: the file may be on a mount that does not answer.
    pub async fn for_connection(
        config: &BrokerConfig,
        names: &SettingNames,
    ) -> Result<Self, BrokerError> {
        Self::for_connection_by(config, names, clock::now).await
    }

    /// The same by another clock: its time is that of the token.
    pub async fn for_connection_by(
        config: &BrokerConfig,
        names: &SettingNames,
        clock: Clock,
    ) -> Result<Self, BrokerError> {
        let Some(key) = config.jwt.as_ref().map(|jwt| jwt.key.clone()) else {
            return Self::fresh(config, names, clock());
        };
        let (config, names) = (config.clone(), names.clone());
        disk::run(&key, move || Self::fresh(&config, &names, clock()))
            .await
            .map_err(BrokerError::Disk)?
    }

    /// Adds the token as enhanced authentication data, if that is its place.
    pub fn enhance(&self, properties: Option<ConnectProperties>) -> Option<ConnectProperties> {
        let Some(token) = &self.enhanced else { return properties };
        let mut properties = properties.unwrap_or_default();
        properties.authentication_method = Some(METHOD.to_owned());
        properties.authentication_data = Some(token.clone());
        Some(properties)
    }

    /// When it must be replaced; `None` means never.
    pub fn renewal(&self) -> Option<Renewal> {
        self.renewal
    }
}

// === impl Renewal ===

impl Renewal {
    fn of(jwt: &BrokerJwt) -> Self {
        Self {
            lifetime: jwt.lifetime,
            place: jwt.place,
            made: Instant::now(),
            sent: None,
            is_early: false,
        }
    }

    /// Renews a token that the connection can replace with the next turn, before its time.
    pub fn bring_forward(&mut self) {
        self.is_early = self.place == JwtPlace::Enhanced && self.sent.is_none();
    }

    /// When the next action is due.
    pub fn next(&self) -> Instant {
        if self.is_early {
            return self.made;
        }
        let share = if self.sent.is_some() { 8 } else { 6 };
        self.made + self.lifetime * share / 8
    }

    /// When the token expires that the broker accepted last.
    pub fn expires_at(&self) -> Instant {
        self.made + self.lifetime
    }

    /// A token is replaced after three quarters of its life. Without an answer by its end, the
    /// session reconnects.
    pub fn due(&mut self, now: Instant) -> Due {
        if now < self.next() {
            return Due::Nothing;
        }
        if self.place == JwtPlace::Enhanced && self.sent.is_none() {
            self.sent = Some(now);
            self.is_early = false;
            return Due::Reauthenticate;
        }
        Due::Reconnect
    }

    /// Records that the broker accepted the newer token.
    fn answered(&mut self) {
        self.made = self.sent.take().unwrap_or(self.made);
    }
}

/// Applies the broker's AUTH to the renewal.
pub fn take_answer(renewal: Option<&mut Renewal>, code: u8) -> Result<(), BrokerError> {
    let Some(renewal) = renewal.filter(|renewal| renewal.sent.is_some()) else {
        return Err(Malformed::UnrequestedAuth.into());
    };
    if code == 0 {
        renewal.answered();
        return Ok(());
    }
    Err(BrokerError::AuthContinued { code })
}

/// The error of a DISCONNECT. While a newer token waits for its answer, a code of authentication
/// refuses that token.
pub fn dismissed(renewal: Option<&Renewal>, reason: DisconnectReason) -> BrokerError {
    let is_renewing = renewal.is_some_and(|renewal| renewal.sent.is_some());
    if is_renewing && REFUSES_TOKEN.contains(&reason.code) {
        return BrokerError::RenewalRefused { code: reason.code };
    }
    BrokerError::Dismissed(reason)
}

/// The error of a second CONNACK: Mosquitto refuses a newer token with one.
pub fn second_connack(renewal: Option<&Renewal>, connack: &ConnAck) -> BrokerError {
    let is_renewing = renewal.is_some_and(|renewal| renewal.sent.is_some());
    if is_renewing && connack.code >= 0x80 {
        return BrokerError::RenewalRefused { code: connack.code };
    }
    Malformed::SecondConnAck.into()
}

/// What a connection does for its login now: nothing, or AUTH with a new token. An error means that only
/// a new connection can replace the token. Blocks for some milliseconds.
pub fn renew(
    renewal: Option<&mut Renewal>,
    config: &BrokerConfig,
    now: (Instant, Timestamp),
) -> Result<BytesMut, BrokerError> {
    match renewal.map_or(Due::Nothing, |renewal| renewal.due(now.0)) {
        Due::Nothing => Ok(BytesMut::new()),
        Due::Reconnect => Err(BrokerError::LoginAges),
        Due::Reauthenticate => reauthentication(config, &SettingNames::Daemon, now.1),
    }
}

/// AUTH with a new token, made without blocking the caller.
pub async fn mint_reauthentication(
    config: BrokerConfig,
    names: SettingNames,
) -> Result<BytesMut, BrokerError> {
    let key = config.jwt.as_ref().map(|jwt| jwt.key.clone()).unwrap_or_default();
    disk::run(&key, move || reauthentication(&config, &names, clock::now()))
        .await
        .map_err(BrokerError::Disk)?
}

/// AUTH with a new token. Encoded here, because the codec miscounts the lengths of its strings.
pub fn reauthentication(
    config: &BrokerConfig,
    names: &SettingNames,
    now: Timestamp,
) -> Result<BytesMut, BrokerError> {
    let token = BrokerCredentials::fresh(config, names, now)?.enhanced.unwrap_or_default();
    let mut properties = BytesMut::with_capacity(token.len() + 32);
    for (property, value) in [(METHOD_PROPERTY, METHOD.as_bytes()), (DATA_PROPERTY, &*token)] {
        let length = u16::try_from(value.len()).map_err(|_| {
            BrokerError::Unsendable(format!(
                "the login token has more than 65535 bytes: shorten {}",
                names.token_claims()
            ))
        })?;
        properties.put_u8(property);
        properties.put_u16(length);
        properties.put_slice(value);
    }
    let mut body = BytesMut::with_capacity(properties.len() + 8);
    body.put_u8(REAUTHENTICATE);
    put_length(&mut body, properties.len());
    body.put_slice(&properties);
    let mut packet = BytesMut::with_capacity(body.len() + 8);
    packet.put_u8(AUTH);
    put_length(&mut packet, body.len());
    packet.put_slice(&body);
    Ok(packet)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn renewal(place: JwtPlace) -> (Renewal, Instant) {
        let made = Instant::now();
        (
            Renewal { lifetime: Duration::from_secs(80), place, made, sent: None, is_early: false },
            made,
        )
    }

    #[test]
    fn a_login_is_renewed_by_a_new_connection_after_three_quarters_of_its_life() {
        let (mut renewal, made) = renewal(JwtPlace::Password);
        assert_eq!(renewal.next(), made + Duration::from_mins(1));
        assert_eq!(renewal.due(made + Duration::from_secs(59)), Due::Nothing);
        assert_eq!(renewal.due(made + Duration::from_mins(1)), Due::Reconnect);
    }

    #[test]
    fn a_renewal_can_be_brought_forward_once() {
        let (mut renewal, made) = renewal(JwtPlace::Enhanced);
        renewal.bring_forward();
        assert_eq!((renewal.next(), renewal.due(made)), (made, Due::Reauthenticate));
        assert_eq!(renewal.due(made), Due::Nothing);
        assert_eq!(renewal.next(), made + Duration::from_secs(80), "it waits for the answer");
    }

    #[test]
    fn an_enhanced_login_is_renewed_in_place_and_reconnects_without_an_answer() {
        let (mut renewal, made) = renewal(JwtPlace::Enhanced);
        let at = |seconds| made + Duration::from_secs(seconds);
        assert_eq!(renewal.due(at(60)), Due::Reauthenticate);
        assert_eq!((renewal.due(at(79)), renewal.next()), (Due::Nothing, at(80)));
        let mut silent = renewal;
        assert_eq!(silent.due(at(80)), Due::Reconnect);
        take_answer(Some(&mut renewal), 0).unwrap();
        for code in [0, 0x18, 0x19] {
            let unrequested = take_answer(Some(&mut renewal), code);
            assert!(
                matches!(unrequested, Err(BrokerError::Protocol(Malformed::UnrequestedAuth))),
                "no newer token was sent: {unrequested:?}"
            );
        }
        assert!(matches!(take_answer(None, 0x18), Err(BrokerError::Protocol(_))));
        assert_eq!((renewal.due(at(80)), renewal.next()), (Due::Nothing, at(120)));
    }
}
