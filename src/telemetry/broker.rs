//! Metrics of the connection to the broker.

use super::declare::metrics;

metrics! {
    /// Updated by the session.
    pub struct BrokerMetrics {
        /// Messages read from the broker.
        received: IntCounter("sluice_messages_received_total"),
        /// 1 while connected and subscribed.
        connected: IntGauge("sluice_mqtt_connected"),
        /// Connections to the broker after the first one.
        reconnects: IntCounter("sluice_mqtt_reconnects_total"),
        /// Messages delivered and not yet acknowledged.
        unacked: IntGauge("sluice_inflight_unacked"),
        /// Times the in-flight window was full, so that the broker had to wait for
        /// acknowledgements.
        window_full: IntCounter("sluice_inflight_window_full_total"),
        /// Acknowledgements dropped because their connection had ended; the broker delivers those
        /// messages again.
        void_acks: IntCounter("sluice_void_acks_total"),
        /// Times the broker had lost the session of Sluice although it had not expired: messages may
        /// be lost.
        session_lost: IntCounter("sluice_mqtt_session_lost_total"),
        /// Malformed packets that Sluice skipped.
        malformed: IntCounter("sluice_mqtt_malformed_packets_total"),
        /// Messages that Sluice has received and not yet begun to check.
        queue_depth: IntGauge("sluice_queue_depth"),
        /// Messages that the broker dropped, from its $SYS/broker/publish/messages/dropped.
        broker_dropped: IntGauge("sluice_broker_dropped_messages"),
    }
}
