//! Cells: a registry and a cell on two servers of Postgres, with a Mosquitto and a Sluice in the cell.

mod away;
mod cell_rig;
mod chain;
mod copying;
mod ended;
mod intermediate;
mod joined;
mod lost_slot;
mod older;
mod passwords;
mod refusals;
mod renewal;
mod restored;
mod shown;
