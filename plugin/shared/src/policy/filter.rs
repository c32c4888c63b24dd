//! The grammar of topics and topic filters as a client sends them, and their levels.
//!
//! It corrects nothing: a text that MQTT forbids is an error. [`super::pattern`] decides which
//! pattern covers which filter.

/// The most levels of a topic; Mosquitto has the same limit (`TOPIC_HIERARCHY_LIMIT`).
pub const MAX_LEVELS: usize = 200;

/// The longest topic, in bytes: the limit of an MQTT string.
pub const MAX_BYTES: usize = 65_535;

const SHARED: &str = "$share/";

/// Why a text is not a topic or a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// The text is empty.
    #[error("a topic must not be empty")]
    Empty,
    /// More than [`MAX_BYTES`].
    #[error("a topic has at most {MAX_BYTES} bytes")]
    TooLong,
    /// More than [`MAX_LEVELS`].
    #[error("a topic has at most {MAX_LEVELS} levels")]
    TooDeep,
    /// U+0000.
    #[error("a topic must not contain U+0000")]
    Nul,
    /// A wildcard in a topic.
    #[error("only a subscription may contain + and #")]
    Wildcard,
    /// A wildcard that is a part of a level.
    #[error("+ and # must be whole levels")]
    PartOfLevel,
    /// Levels after `#`.
    #[error("# must be the last level")]
    RestNotLast,
    /// `$share/` without a group or without a filter.
    #[error("a shared subscription has the form $share/<group>/<filter>")]
    Shared,
}

/// One level of a topic or a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FilterStep<'a> {
    /// Exactly this name.
    Name(&'a str),
    /// `+`: any name.
    Any,
    /// `#`: this level and everything below.
    Rest,
}

/// The levels of a text that are left.
struct Steps<'a>(Option<&'a str>);

/// The topics of a request: one topic, or all topics that a filter matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicFilter<'a> {
    text: &'a str,
    is_shared: bool,
    has_wildcards: bool,
}

// === impl FilterStep ===

impl FilterStep<'_> {
    /// Whether no wildcard matches this step: a first level that begins with `$` belongs to the
    /// broker.
    pub fn is_hidden(self, index: usize) -> bool {
        index == 0 && matches!(self, Self::Name(name) if name.starts_with('$'))
    }
}

// === impl Steps ===

impl<'a> Iterator for Steps<'a> {
    type Item = FilterStep<'a>;

    fn next(&mut self) -> Option<FilterStep<'a>> {
        let text = self.0?;
        // Levels are short: a loop over the bytes costs less than a search that prepares for long texts.
        let level = if let Some(end) = text.bytes().position(|byte| byte == b'/') {
            self.0 = Some(&text[end + 1..]);
            &text[..end]
        } else {
            self.0 = None;
            text
        };
        Some(match level {
            "+" => FilterStep::Any,
            "#" => FilterStep::Rest,
            name => FilterStep::Name(name),
        })
    }
}

// === impl TopicFilter ===

impl<'a> TopicFilter<'a> {
    /// Parses a topic, as in PUBLISH: without wildcards.
    pub fn topic(text: &'a str) -> Result<Self, FilterError> {
        let filter = Self::parse(text)?;
        if filter.has_wildcards { Err(FilterError::Wildcard) } else { Ok(filter) }
    }

    /// Parses a filter, as in SUBSCRIBE; of a shared subscription only the filter after the group
    /// counts.
    pub fn subscription(text: &'a str) -> Result<Self, FilterError> {
        let Some(rest) = text.strip_prefix(SHARED) else {
            return if text == "$share" { Err(FilterError::Shared) } else { Self::parse(text) };
        };
        let (group, filter) = rest.split_once('/').ok_or(FilterError::Shared)?;
        if group.is_empty() || filter.is_empty() || group.contains(['+', '#', '\0']) {
            return Err(FilterError::Shared);
        }
        Ok(Self { is_shared: true, ..Self::parse(filter)? })
    }

    /// Parses a filter that is not a shared subscription.
    pub fn parse(text: &'a str) -> Result<Self, FilterError> {
        if text.is_empty() {
            return Err(FilterError::Empty);
        }
        if text.len() > MAX_BYTES {
            return Err(FilterError::TooLong);
        }
        let bytes = text.as_bytes();
        // One pass over the bytes: the broker waits for each decision.
        let (mut has_wildcards, mut has_ended, mut levels, mut start) = (false, false, 1, 0);
        for (at, byte) in bytes.iter().enumerate() {
            match byte {
                b'/' => {
                    levels += 1;
                    start = at + 1;
                    if levels > MAX_LEVELS {
                        return Err(FilterError::TooDeep);
                    }
                    if has_ended {
                        return Err(FilterError::RestNotLast);
                    }
                }
                b'+' | b'#' => {
                    let is_whole =
                        at == start && bytes.get(at + 1).is_none_or(|next| *next == b'/');
                    if !is_whole {
                        return Err(FilterError::PartOfLevel);
                    }
                    has_wildcards = true;
                    has_ended = *byte == b'#';
                }
                0 => return Err(FilterError::Nul),
                _ => {}
            }
        }
        Ok(Self { text, is_shared: false, has_wildcards })
    }

    /// The levels, in order.
    pub fn steps(&self) -> impl Iterator<Item = FilterStep<'a>> + use<'a> {
        // `#` matches its parent too; the parent of `/#` would be the empty topic, which does not
        // exist.
        let text = if self.text == "/#" { "/+/#" } else { self.text };
        Steps(Some(text))
    }

    /// The filter as written, without `$share/<group>/`.
    pub const fn text(&self) -> &'a str {
        self.text
    }

    /// Whether the client sent `$share/<group>/<filter>`.
    pub const fn is_shared(&self) -> bool {
        self.is_shared
    }

    /// Whether the filter contains `+` or `#`.
    pub const fn has_wildcards(&self) -> bool {
        self.has_wildcards
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_levels_between_slashes_and_a_level_may_be_empty() {
        let steps = |text| TopicFilter::parse(text).unwrap().steps().collect::<Vec<_>>();
        assert_eq!(steps("a/+/#"), [FilterStep::Name("a"), FilterStep::Any, FilterStep::Rest]);
        assert_eq!(steps("/"), [FilterStep::Name(""), FilterStep::Name("")]);
        assert_eq!(steps("#"), [FilterStep::Rest]);
        assert_eq!(
            steps("/#"),
            [FilterStep::Name(""), FilterStep::Any, FilterStep::Rest],
            "the empty topic is none"
        );
        assert_eq!(steps("$SYS/x y"), [FilterStep::Name("$SYS"), FilterStep::Name("x y")]);
    }

    #[test]
    fn what_mqtt_forbids_is_refused_by_name() {
        for (text, error) in [
            ("", FilterError::Empty),
            ("a+", FilterError::PartOfLevel),
            ("a/b#", FilterError::PartOfLevel),
            ("a/##", FilterError::PartOfLevel),
            ("#/a", FilterError::RestNotLast),
            ("a/#/", FilterError::RestNotLast),
            ("a\0", FilterError::Nul),
        ] {
            assert_eq!(TopicFilter::parse(text), Err(error), "{text:?}");
        }
        assert_eq!(TopicFilter::topic("a/+"), Err(FilterError::Wildcard));
        assert_eq!(TopicFilter::topic("#"), Err(FilterError::Wildcard));
    }

    #[test]
    fn length_and_depth_are_bounded() {
        assert!(TopicFilter::parse(&"a".repeat(MAX_BYTES)).is_ok());
        assert_eq!(TopicFilter::parse(&"a".repeat(MAX_BYTES + 1)), Err(FilterError::TooLong));
        assert!(TopicFilter::parse(&"/".repeat(MAX_LEVELS - 1)).is_ok());
        assert_eq!(TopicFilter::parse(&"/".repeat(MAX_LEVELS)), Err(FilterError::TooDeep));
    }

    #[test]
    fn of_a_shared_subscription_the_group_is_stripped() {
        let shared = TopicFilter::subscription("$share/g1/tenant/+/device/#").unwrap();
        assert!(shared.is_shared());
        let plain = TopicFilter::subscription("tenant/+/device/#").unwrap();
        assert!(shared.steps().eq(plain.steps()) && !plain.is_shared());
        for text in
            ["$share", "$share/", "$share/g", "$share/g/", "$share//a", "$share/+/a", "$share/g#/a"]
        {
            assert_eq!(TopicFilter::subscription(text), Err(FilterError::Shared), "{text}");
        }
        assert_eq!(TopicFilter::subscription("$share/g/a#"), Err(FilterError::PartOfLevel));
        assert!(!TopicFilter::subscription("$shared/g").unwrap().is_shared());
    }
}
