//! The macro that declares a struct of metrics and registers it.
//!
//! It depends on no metric. A metric whose labels are known in advance gets its series from its own
//! wing.

/// Declares a struct of metrics. The doc comment of a field is its help text, on one
/// line or more. Its name is written in full, so that it can be searched.
macro_rules! metrics {
    (
        $(#[$outer:meta])*
        pub struct $name:ident {
            $( $( #[doc = $help:literal] )+ $field:ident : $type:ident ( $metric:literal $(, $arg:expr)* ) ),* $(,)?
        }
    ) => {
        $(#[$outer])*
        #[derive(Clone, Debug)]
        pub struct $name {
            $( $( #[doc = $help] )+ pub $field: prometheus::$type, )*
        }

        impl $name {
            /// Creates and registers all metrics of this struct.
            pub fn register(registry: &prometheus::Registry) -> Result<Self, prometheus::Error> {
                $(
                    let $field = $crate::telemetry::declare::metrics!(
                        @make $type, $metric, concat!($($help),+) $(, $arg)*)?;
                    registry.register(Box::new($field.clone()))?;
                )*
                Ok(Self { $( $field ),* })
            }
        }
    };
    (@make Histogram, $metric:literal, $help:expr, $buckets:expr) => {
        prometheus::Histogram::with_opts(
            prometheus::HistogramOpts::new($metric, str::trim($help)).buckets($buckets.to_vec()))
    };
    (@make HistogramVec, $metric:literal, $help:expr, $labels:expr, $buckets:expr) => {
        prometheus::HistogramVec::new(
            prometheus::HistogramOpts::new($metric, str::trim($help)).buckets($buckets.to_vec()),
            &$labels)
    };
    (@make $type:ident, $metric:literal, $help:expr) => {
        prometheus::$type::new($metric, str::trim($help))
    };
    (@make $type:ident, $metric:literal, $help:expr, $labels:expr) => {
        prometheus::$type::new(prometheus::Opts::new($metric, str::trim($help)), &$labels)
    };
}

pub(crate) use metrics;
