//! Metrics of cells: in a cell, of its copy of the registry; at a registry, of its cells.

use prometheus::core::Collector;

use super::declare::metrics;

metrics! {
    /// Updated every few seconds by the watch of the registry.
    pub struct CellMetrics {
        /// 1 in a cell: its registry is a copy that another database sends.
        is_cell: IntGauge("sluice_cell"),
        /// In a cell: seconds by which its copy of the registry is behind; 0 elsewhere.
        lag_seconds: Gauge("sluice_registry_lag_seconds"),
        /// In a cell: 1 while the registry answers and the subscription runs; 0 elsewhere.
        connected: IntGauge("sluice_registry_connected"),
        /// In a cell: 1 when its copy has what the registry has lost, as after a restored backup; 0 elsewhere.
        registry_older: IntGauge("sluice_registry_older"),
        /// At a registry: seconds since the Sluice of each cell last wrote to it.
        seen_seconds: GaugeVec("sluice_cell_seen_seconds", ["cell"]),
        /// At a registry: bytes of WAL that it keeps for each cell.
        wal_held_bytes: IntGaugeVec("sluice_cell_wal_held_bytes", ["cell"]),
        /// At a registry: bytes of WAL that each cell has not confirmed.
        lag_bytes: IntGaugeVec("sluice_cell_lag_bytes", ["cell"]),
        /// At a registry: 1 while the slot of each cell holds all that the cell needs; 0 means that the
        /// cell must leave and join again.
        slot_ok: IntGaugeVec("sluice_cell_slot_ok", ["cell"]),
    }
}

/// What the registry shows of one cell.
#[derive(Clone, Copy, Debug)]
pub struct CellFigures {
    /// Since its last sign of life.
    pub seen_seconds: f64,
    /// WAL kept for it.
    pub wal_held_bytes: i64,
    /// WAL that it has not confirmed.
    pub lag_bytes: i64,
    /// Whether its slot is usable.
    pub slot_ok: bool,
}

// === impl CellMetrics ===

impl CellMetrics {
    /// This database is no cell.
    pub fn show_no_cell(&self) {
        self.is_cell.set(0);
        self.lag_seconds.set(0.0);
        self.connected.set(0);
        self.registry_older.set(0);
    }

    /// This database is a cell.
    pub fn show_cell(&self, lag_seconds: f64, is_connected: bool, is_registry_older: bool) {
        self.registry_older.set(i64::from(is_registry_older));
        self.is_cell.set(1);
        self.lag_seconds.set(lag_seconds);
        self.connected.set(i64::from(is_connected));
    }

    /// Forgets all cells of this registry.
    pub fn forget_cells(&self) {
        if !self.slot_ok.collect().iter().all(|family| family.get_metric().is_empty()) {
            self.seen_seconds.reset();
            self.wal_held_bytes.reset();
            self.lag_bytes.reset();
            self.slot_ok.reset();
        }
    }

    /// Shows a cell of this registry.
    pub fn show_cell_of_registry(&self, cell: &str, figures: CellFigures) {
        let label = &[cell];
        self.seen_seconds.with_label_values(label).set(figures.seen_seconds);
        self.wal_held_bytes.with_label_values(label).set(figures.wal_held_bytes);
        self.lag_bytes.with_label_values(label).set(figures.lag_bytes);
        self.slot_ok.with_label_values(label).set(i64::from(figures.slot_ok));
    }
}
