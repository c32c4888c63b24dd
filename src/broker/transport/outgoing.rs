//! Packets that Sluice sends: CONNECT and SUBSCRIBE from the settings, and small ones that need no
//! codec.
//!
//! It announces no Maximum Packet Size: Mosquitto would drop larger messages silently, and Sluice
//! quarantines them. It offers no topic alias: each message carries its own topic.

use bytes::BytesMut;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    Connect, ConnectProperties, Filter, RetainForwardRule, Subscribe, Unsubscribe,
};

use super::malformed::Malformed;
use crate::broker::error::BrokerError;
use crate::broker::login::BrokerCredentials;
use crate::broker::setting_names::SettingNames;
use crate::clock;
use crate::config::sections::broker::{BrokerConfig, SHARE_PREFIX};

/// Topic where Mosquitto publishes the number of messages it dropped.
pub const DROPPED_TOPIC: &str = "$SYS/broker/publish/messages/dropped";

/// The packet identifier of the SUBSCRIBE to `MQTT_TOPIC`.
pub const MAIN_SUBSCRIPTION: u16 = 1;

/// The packet identifier of the SUBSCRIBE to [`DROPPED_TOPIC`].
pub const DROPPED_SUBSCRIPTION: u16 = 2;

/// Packet identifier of the UNSUBSCRIBE from former subscriptions.
pub const FORMER_SUBSCRIPTIONS: u16 = 3;

/// Packet identifier of the UNSUBSCRIBE of a drain.
pub const LEFT_SUBSCRIPTIONS: u16 = 4;

/// PINGREQ.
pub const PINGREQ: [u8; 2] = [0xc0, 0];

/// DISCONNECT: normal end; the session stays.
pub const DISCONNECT: [u8; 2] = [0xe0, 0];

/// DISCONNECT: normal end, with the Session Expiry Interval 0: the session ends, too.
pub const DISCONNECT_SESSION: [u8; 9] = [0xe0, 7, 0, 5, 0x11, 0, 0, 0, 0];

/// DISCONNECT: the broker sent an unreadable packet.
pub const DISCONNECT_MALFORMED: [u8; 3] = [0xe0, 1, 0x81];

/// DISCONNECT: the broker sent a packet that it may not send now.
pub const DISCONNECT_OUT_OF_TURN: [u8; 3] = [0xe0, 1, 0x82];

/// DISCONNECT: the broker used a topic alias that was never set.
pub const DISCONNECT_ALIAS: [u8; 3] = [0xe0, 1, 0x94];

/// CONNECT for the session: the broker keeps it, and Sluice sets the window.
pub fn session_connect(
    config: &BrokerConfig,
    login: &BrokerCredentials,
) -> Result<BytesMut, BrokerError> {
    let mut properties = ConnectProperties::new();
    properties.session_expiry_interval = Some(config.session_expiry_seconds);
    properties.receive_maximum = Some(config.receive_maximum);
    properties.request_problem_info = Some(1);
    let keep_alive = u16::try_from(config.keepalive.as_secs()).unwrap_or(u16::MAX);
    connect_as(login, config, keep_alive, false, Some(properties))
}

/// CONNECT for the exchange: the broker keeps no session, and notices soon that Sluice is gone.
pub fn exchange_connect(
    config: &BrokerConfig,
    login: &BrokerCredentials,
    receive_maximum: u16,
) -> Result<BytesMut, BrokerError> {
    let mut properties = ConnectProperties::new();
    properties.receive_maximum = Some(receive_maximum);
    properties.request_problem_info = Some(1);
    let keep_alive = u16::try_from(config.keepalive.as_secs()).unwrap_or(u16::MAX);
    connect_as(login, config, keep_alive, true, Some(properties))
}

/// CONNECT to another broker. Properties that some clouds refuse are left out: user properties, and all
/// that have their default.
pub fn remote_connect(
    config: &BrokerConfig,
    login: &BrokerCredentials,
    clean_start: bool,
) -> Result<BytesMut, BrokerError> {
    let mut properties = ConnectProperties::new();
    properties.session_expiry_interval =
        (config.session_expiry_seconds > 0).then_some(config.session_expiry_seconds);
    properties.receive_maximum = (config.receive_maximum > 0).then_some(config.receive_maximum);
    let keep_alive = u16::try_from(config.keepalive.as_secs()).unwrap_or(u16::MAX);
    connect_as(login, config, keep_alive, clean_start, Some(properties))
}

/// CONNECT for a publisher: no session is kept, and there are no pings.
pub fn publisher_connect(config: &BrokerConfig) -> Result<BytesMut, BrokerError> {
    connect(config, 0, true, None)
}

/// CONNECT for an inspector: no session is kept, and at most `receive_maximum` messages are
/// unacknowledged.
pub fn inspector_connect(
    config: &BrokerConfig,
    receive_maximum: u16,
) -> Result<BytesMut, BrokerError> {
    let mut properties = ConnectProperties::new();
    properties.receive_maximum = Some(receive_maximum);
    properties.request_problem_info = Some(1);
    connect(config, 0, true, Some(properties))
}

/// CONNECT that takes over the session of this client id. What the broker holds for it is dropped,
/// or waits for its owner for the given seconds.
pub fn takeover_connect(
    config: &BrokerConfig,
    client_id: &str,
    keep_seconds: Option<u32>,
) -> Result<BytesMut, BrokerError> {
    let mut properties = ConnectProperties::new();
    properties.session_expiry_interval = keep_seconds;
    // Messages that wait for the device are not wanted here.
    properties.receive_maximum = Some(1);
    properties.request_problem_info = Some(1);
    let config = BrokerConfig { client_id: client_id.to_owned(), ..config.clone() };
    connect(&config, 0, keep_seconds.is_none(), Some(properties))
}

/// CONNECT of a client that only its certificate identifies.
pub fn bare_connect(client_id: &str) -> Result<BytesMut, BrokerError> {
    let packet = Connect {
        keep_alive: 0,
        client_id: client_id.to_owned(),
        clean_start: true,
        properties: None,
    };
    let mut buffer = BytesMut::new();
    packet.write(&None, &None, &mut buffer).map_err(unsendable)?;
    Ok(buffer)
}

/// Both SUBSCRIBEs. The one to the broker's own count is separate, so that its refusal is harmless.
pub fn subscribe(config: &BrokerConfig) -> Result<BytesMut, BrokerError> {
    let mut buffer = BytesMut::new();
    let wanted = [
        (MAIN_SUBSCRIPTION, config.filter(), QoS::AtLeastOnce),
        (DROPPED_SUBSCRIPTION, DROPPED_TOPIC.to_owned(), QoS::AtMostOnce),
    ];
    for (packet_id, path, qos) in wanted {
        let mut filter = Filter::new(path, qos);
        filter.retain_forward_rule = match packet_id {
            // The documents that Sluice retains for devices would overflow the broker's queue.
            MAIN_SUBSCRIPTION => RetainForwardRule::Never,
            _ => RetainForwardRule::OnNewSubscribe,
        };
        let mut packet = Subscribe::new(filter, None);
        packet.pkid = packet_id;
        packet.write(&mut buffer).map_err(unsendable)?;
    }
    Ok(buffer)
}

/// SUBSCRIBE of the exchange at QoS 1: to requests, or to a message that Sluice itself retains.
///
/// Requests that were retained before do not arrive, and one that is retained while it arrives says
/// so. What Sluice publishes itself does not come back, except to a shared subscription.
pub fn exchange_subscribe(
    packet_id: u16,
    filter: &str,
    wants_retained: bool,
) -> Result<BytesMut, BrokerError> {
    let mut filter = Filter::new(filter, QoS::AtLeastOnce);
    filter.nolocal = !filter.path.starts_with(SHARE_PREFIX) && !wants_retained;
    filter.preserve_retain = true;
    filter.retain_forward_rule =
        if wants_retained { RetainForwardRule::OnEverySubscribe } else { RetainForwardRule::Never };
    let mut packet = Subscribe::new(filter, None);
    packet.pkid = packet_id;
    let mut buffer = BytesMut::new();
    packet.write(&mut buffer).map_err(unsendable)?;
    Ok(buffer)
}

/// One SUBSCRIBE to another broker, for filters with their QoS. Retained messages arrive with a new
/// subscription, and not again with each connection of a session that the broker has kept.
pub fn remote_subscribe(packet_id: u16, filters: &[(&str, u8)]) -> Result<BytesMut, BrokerError> {
    let filters = filters.iter().map(|&(path, qos)| {
        let mut filter =
            Filter::new(path, if qos == 0 { QoS::AtMostOnce } else { QoS::AtLeastOnce });
        filter.retain_forward_rule = RetainForwardRule::OnNewSubscribe;
        filter
    });
    let mut packet = Subscribe::new_many(filters, None);
    packet.pkid = packet_id;
    let mut buffer = BytesMut::new();
    packet.write(&mut buffer).map_err(unsendable)?;
    Ok(buffer)
}

/// UNSUBSCRIBE from all these filters.
pub fn unsubscribe(packet_id: u16, filters: &[String]) -> Result<BytesMut, BrokerError> {
    let packet = Unsubscribe { pkid: packet_id, filters: filters.to_vec(), properties: None };
    let mut buffer = BytesMut::new();
    packet.write(&mut buffer).map_err(unsendable)?;
    Ok(buffer)
}

/// SUBSCRIBE of an inspector at QoS 1, with retained messages on request.
pub fn inspector_subscribe(path: &str, wants_retained: bool) -> Result<BytesMut, BrokerError> {
    let mut filter = Filter::new(path, QoS::AtLeastOnce);
    filter.retain_forward_rule =
        if wants_retained { RetainForwardRule::OnEverySubscribe } else { RetainForwardRule::Never };
    let mut packet = Subscribe::new(filter, None);
    packet.pkid = MAIN_SUBSCRIPTION;
    let mut buffer = BytesMut::new();
    packet.write(&mut buffer).map_err(unsendable)?;
    Ok(buffer)
}

/// The DISCONNECT that an error requires; `None` if there is none.
pub fn final_packet(error: &BrokerError) -> Option<&'static [u8]> {
    match error {
        BrokerError::Protocol(Malformed::Alias) => Some(&DISCONNECT_ALIAS),
        BrokerError::Protocol(fault) if fault.is_out_of_turn() => Some(&DISCONNECT_OUT_OF_TURN),
        BrokerError::Protocol(_) => Some(&DISCONNECT_MALFORMED),
        BrokerError::LoginAges => Some(&DISCONNECT),
        _ => None,
    }
}

/// PUBACK.
pub fn puback(packet_id: u16) -> [u8; 4] {
    with_id(0x40, packet_id)
}

/// PUBREC.
pub fn pubrec(packet_id: u16) -> [u8; 4] {
    with_id(0x50, packet_id)
}

/// PUBCOMP.
pub fn pubcomp(packet_id: u16) -> [u8; 4] {
    with_id(0x70, packet_id)
}

/// The codec cannot encode a packet.
#[expect(clippy::needless_pass_by_value, reason = "map_err passes the value")]
pub fn unsendable(error: rumqttc::v5::mqttbytes::Error) -> BrokerError {
    BrokerError::Unsendable(error.to_string())
}

// --- private helpers ---

fn connect(
    config: &BrokerConfig,
    keep_alive: u16,
    clean_start: bool,
    properties: Option<ConnectProperties>,
) -> Result<BytesMut, BrokerError> {
    connect_as(
        &BrokerCredentials::fresh(config, &SettingNames::Daemon, clock::now())?,
        config,
        keep_alive,
        clean_start,
        properties,
    )
}

fn connect_as(
    login: &BrokerCredentials,
    config: &BrokerConfig,
    keep_alive: u16,
    clean_start: bool,
    properties: Option<ConnectProperties>,
) -> Result<BytesMut, BrokerError> {
    let properties = login.enhance(properties);
    let packet =
        Connect { keep_alive, client_id: config.client_id.clone(), clean_start, properties };
    let mut buffer = BytesMut::new();
    packet.write(&None, &login.credentials, &mut buffer).map_err(unsendable)?;
    Ok(buffer)
}

fn with_id(first: u8, packet_id: u16) -> [u8; 4] {
    let [high, low] = packet_id.to_be_bytes();
    [first, 2, high, low]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::secret::Secret;
    use rumqttc::v5::mqttbytes::v5::Packet;
    use std::time::Duration;

    fn config() -> BrokerConfig {
        BrokerConfig {
            host: "localhost".into(),
            port: 1883,
            username: Some("u".into()),
            password: Some(Secret::new("p".into())),
            jwt: None,
            client_id: "sluice".into(),
            topic: "tenant/+/device/+/#".into(),
            share_group: None,
            tls: None,
            keepalive: Duration::from_secs(30),
            session_expiry_seconds: 600,
            receive_maximum: 16_000,
            max_packet_bytes: 1 << 24,
        }
    }

    #[test]
    fn connect_keeps_the_session_and_announces_the_window_but_no_packet_size() {
        let packet = Packet::read(
            &mut session_connect(
                &config(),
                &BrokerCredentials::fresh(&config(), &SettingNames::Daemon, clock::now()).unwrap(),
            )
            .unwrap(),
            None,
        )
        .unwrap();
        let Packet::Connect(connect, None, Some(login)) = packet else { panic!("{packet:?}") };
        assert!(!connect.clean_start);
        assert_eq!((connect.keep_alive, &*login.username, &*login.password), (30, "u", "p"));
        let properties = connect.properties.unwrap();
        assert_eq!(
            (properties.session_expiry_interval, properties.receive_maximum),
            (Some(600), Some(16_000))
        );
        assert_eq!((properties.max_packet_size, properties.topic_alias_max), (None, None));
    }

    #[test]
    fn unsubscribe_names_every_former_filter() {
        let former = ["a/#".to_owned(), "$share/g/a/#".to_owned()];
        let Packet::Unsubscribe(packet) =
            Packet::read(&mut unsubscribe(FORMER_SUBSCRIPTIONS, &former).unwrap(), None).unwrap()
        else {
            panic!("no UNSUBSCRIBE")
        };
        assert_eq!((packet.pkid, &packet.filters[..]), (FORMER_SUBSCRIPTIONS, &former[..]));
    }

    #[test]
    fn subscribe_asks_for_no_retained_messages_and_shares_with_the_group() {
        let shared = BrokerConfig { share_group: Some("g".into()), ..config() };
        let mut bytes = subscribe(&shared).unwrap();
        let Packet::Subscribe(main) = Packet::read(&mut bytes, None).unwrap() else {
            panic!("no SUBSCRIBE")
        };
        assert_eq!(
            (main.pkid, &*main.filters[0].path),
            (MAIN_SUBSCRIPTION, "$share/g/tenant/+/device/+/#")
        );
        assert_eq!(main.filters[0].retain_forward_rule, RetainForwardRule::Never);
        let Packet::Subscribe(dropped) = Packet::read(&mut bytes, None).unwrap() else {
            panic!("no SUBSCRIBE")
        };
        assert_eq!(
            (&*dropped.filters[0].path, dropped.filters[0].qos),
            (DROPPED_TOPIC, QoS::AtMostOnce)
        );
    }
}
