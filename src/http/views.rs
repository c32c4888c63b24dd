//! The public JSON shapes of rows: what the API shows of a tenant, a device, a certificate, a
//! refused message, telemetry, a revocation, a command and a shadow. A link is no row: its shape is
//! [`crate::link::overview`].
//!
//! A view is apart from its row, so that a column can change without a change of the API. Each file
//! pins the JSON of its views. It queries nothing and hides nothing: rows contain no secret.

pub(crate) mod access;
pub(crate) mod audit;
pub(crate) mod authority;
pub(crate) mod cells;
pub(crate) mod certificates;
pub(crate) mod commands;
pub(crate) mod dead_letters;
pub(crate) mod devices;
pub(crate) mod doctor;
pub(crate) mod enrolment;
pub(crate) mod events;
pub(crate) mod facets;
pub(crate) mod live;
pub(crate) mod operators;
pub(crate) mod overview;
pub(crate) mod registration;
pub(crate) mod replays;
pub(crate) mod revocation;
pub(crate) mod settings;
pub(crate) mod shadows;
pub(crate) mod telemetry;
pub(crate) mod tenants;

/// Declares a view and its conversion from a row: the fields of both have the same names. The text
/// is the name of its schema. A page of the console reads the view back.
macro_rules! view {
    (
        $(#[$attr:meta])*
        $view:ident as $schema:literal of $row:path {
            $($(#[$field_attr:meta])* $field:ident: $type:ty,)+
        }
    ) => {
        $(#[$attr])*
        #[derive(Clone, Debug, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        #[schemars(rename = $schema)]
        pub struct $view {
            $($(#[$field_attr])* pub $field: $type,)+
        }

        impl From<$row> for $view {
            fn from(row: $row) -> Self {
                Self { $($field: row.$field.into(),)+ }
            }
        }
    };
}

use view;

/// The view of `row` as JSON, after a check that the row itself has the same JSON.
#[cfg(test)]
fn json_of<R: serde::Serialize, V: From<R> + serde::Serialize>(row: R) -> String {
    let of_row = serde_json::to_string(&row).unwrap();
    let of_view = serde_json::to_string(&V::from(row)).unwrap();
    assert_eq!(of_view, of_row, "the command line prints rows");
    of_view
}

/// A time for the tests: the start of a day in 2026.
#[cfg(test)]
fn day(day: u32) -> chrono::DateTime<chrono::Utc> {
    format!("2026-11-{day:02}T00:00:00Z").parse().unwrap()
}
