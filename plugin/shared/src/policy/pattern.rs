//! The topic patterns of rules: filters with placeholders, which take their values from the
//! requesting subject.
//!
//! # Containment
//! One pass over the levels decides whether several patterns together cover a requested filter:
//! each level keeps the patterns that match so far. Where the filter has a wildcard, it matches
//! infinitely many names, so some name that no pattern spells out; only patterns with a wildcard at
//! that level stay. Every other name keeps those patterns and perhaps more, so it needs no check.
//! The answer is exact, and it costs levels times patterns.
//!
//! # Values
//! A value that could span several levels never enters a pattern. An allow rule then matches
//! nothing; a deny rule matches any name at that level, so that an unusual client id does not evade
//! it.

use super::effect::Effect;
use super::filter::{FilterError, FilterStep, TopicFilter};
use crate::subject::{Subject, SubjectKind};

/// The placeholders of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placeholder {
    /// `{tenant}`: the tenant of a device.
    Tenant,
    /// `{device}`: the name of a device.
    Device,
    /// `{sub}`: the id of the subject.
    Sub,
    /// `{client_id}`: the client id, which the client chooses.
    ClientId,
}

/// A topic pattern of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: Box<str>,
    /// The length of the leading plain names in `text`: one prefix comparison rejects most topics.
    prefix_len: usize,
    levels: Box<[TopicLevel]>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum TopicLevel {
    Name(Box<str>),
    Any,
    Rest,
    Filled(Placeholder),
}

/// One level of a pattern with the values of one subject.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ResolvedLevel<'a> {
    /// The pattern has no such level.
    Ended,
    /// The placeholder has no value: the level matches no name.
    Nothing,
    Step(FilterStep<'a>),
}

/// How far a level of a pattern covers the requested level.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Agreement {
    None,
    SoFar,
    WithAllBelow,
}

/// Why a text is not a pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// The text is not a topic filter.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// Braces around an unknown name, or around a part of a level.
    #[error(
        "{0:?} is not a placeholder: use {{tenant}}, {{device}}, {{sub}} or {{client_id}} as a whole level"
    )]
    Placeholder(String),
}

/// The values of the placeholders for one subject.
#[derive(Clone, Copy, Debug)]
pub struct Values<'a> {
    tenant: PlaceholderValue<'a>,
    device: PlaceholderValue<'a>,
    sub: PlaceholderValue<'a>,
    client_id: PlaceholderValue<'a>,
}

#[derive(Clone, Copy, Debug)]
enum PlaceholderValue<'a> {
    /// The subject has no such value.
    Missing,
    /// The value would not stay within one level.
    Unfit,
    Fit(&'a str),
}

// === impl Placeholder ===

impl Placeholder {
    const ALL: [Self; 4] = [Self::Tenant, Self::Device, Self::Sub, Self::ClientId];

    /// The spelling in a pattern.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Tenant => "{tenant}",
            Self::Device => "{device}",
            Self::Sub => "{sub}",
            Self::ClientId => "{client_id}",
        }
    }
}

// === impl Values ===

impl<'a> Values<'a> {
    /// The values of `subject` under `client_id`.
    pub fn of(subject: &'a Subject, client_id: &'a str) -> Self {
        let (tenant, device) = match &subject.kind {
            SubjectKind::Device(key) => {
                (PlaceholderValue::new(key.tenant()), PlaceholderValue::new(key.device()))
            }
            SubjectKind::Service | SubjectKind::User | SubjectKind::Guest => {
                (PlaceholderValue::Missing, PlaceholderValue::Missing)
            }
        };
        Self {
            tenant,
            device,
            sub: PlaceholderValue::new(&subject.id),
            client_id: PlaceholderValue::new(client_id),
        }
    }

    /// Each placeholder as its own spelling, to compare patterns as written. No plain name contains
    /// braces.
    pub const fn as_written() -> Values<'static> {
        Values {
            tenant: PlaceholderValue::Fit(Placeholder::Tenant.text()),
            device: PlaceholderValue::Fit(Placeholder::Device.text()),
            sub: PlaceholderValue::Fit(Placeholder::Sub.text()),
            client_id: PlaceholderValue::Fit(Placeholder::ClientId.text()),
        }
    }

    const fn get(&self, placeholder: Placeholder) -> PlaceholderValue<'a> {
        match placeholder {
            Placeholder::Tenant => self.tenant,
            Placeholder::Device => self.device,
            Placeholder::Sub => self.sub,
            Placeholder::ClientId => self.client_id,
        }
    }
}

// === impl PlaceholderValue ===

impl<'a> PlaceholderValue<'a> {
    fn new(text: &'a str) -> Self {
        let fits =
            !text.is_empty() && !text.bytes().any(|byte| matches!(byte, b'+' | b'#' | b'/' | 0));
        if fits { Self::Fit(text) } else { Self::Unfit }
    }
}

// === impl Pattern ===

impl Pattern {
    /// Parses a pattern of a rule.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let levels: Result<Box<[TopicLevel]>, _> =
            TopicFilter::parse(text)?.steps().map(TopicLevel::of).collect();
        let mut levels = levels?;
        if *levels == [TopicLevel::Any, TopicLevel::Rest] {
            // `+/#` and `#` match the same topics, because every topic has a level; one form saves
            // `covers` a second check.
            levels = Box::new([TopicLevel::Rest]);
        }
        let lengths = levels.iter().map_while(|level| match level {
            TopicLevel::Name(name) => Some(name.len()),
            TopicLevel::Any | TopicLevel::Rest | TopicLevel::Filled(_) => None,
        });
        let prefix_len = lengths.reduce(|all, length| all + "/".len() + length).unwrap_or_default();
        Ok(Self { text: text.into(), prefix_len, levels })
    }

    /// The text as written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether both patterns have the same levels, whatever their spelling.
    pub fn is_same(&self, other: &Self) -> bool {
        self.levels == other.levels
    }

    /// Whether the pattern contains `placeholder`.
    pub fn has(&self, placeholder: Placeholder) -> bool {
        self.levels.contains(&TopicLevel::Filled(placeholder))
    }

    /// Whether the pattern matches every requested topic, as the pattern of an allow rule.
    pub fn covers(&self, requested: &TopicFilter<'_>, values: &Values<'_>) -> bool {
        if !self.shares_prefix(requested) {
            return false;
        }
        let mut depth = 0;
        for (index, step) in requested.steps().enumerate() {
            match self.resolve_level(index, values, Effect::Allow).holds(step, index) {
                Agreement::WithAllBelow => return true,
                Agreement::SoFar => depth = index + 1,
                Agreement::None => return false,
            }
        }
        self.matches_end_at(depth)
    }

    /// Whether the pattern matches any requested topic, as the pattern of a deny rule.
    pub fn overlaps(&self, requested: &TopicFilter<'_>, values: &Values<'_>) -> bool {
        if !requested.has_wildcards() && !self.shares_prefix(requested) {
            return false;
        }
        let mut depth = 0;
        for (index, step) in requested.steps().enumerate() {
            let own = match self.resolve_level(index, values, Effect::Deny) {
                ResolvedLevel::Ended => return step == FilterStep::Rest,
                ResolvedLevel::Nothing => return false,
                ResolvedLevel::Step(own) => own,
            };
            match (own, step) {
                _ if own.is_hidden(index) != step.is_hidden(index) => return false,
                (FilterStep::Rest, _) => return true,
                (_, FilterStep::Rest) => return self.can_match_from(index, values),
                (FilterStep::Name(own), FilterStep::Name(name)) if own != name => return false,
                _ => depth = index + 1,
            }
        }
        self.matches_end_at(depth)
    }

    fn shares_prefix(&self, requested: &TopicFilter<'_>) -> bool {
        requested.text().as_bytes().starts_with(&self.text.as_bytes()[..self.prefix_len])
    }

    fn can_match_from(&self, index: usize, values: &Values<'_>) -> bool {
        (index..self.levels.len())
            .all(|index| self.resolve_level(index, values, Effect::Deny) != ResolvedLevel::Nothing)
    }

    fn resolve_level<'s>(
        &'s self,
        index: usize,
        values: &Values<'s>,
        effect: Effect,
    ) -> ResolvedLevel<'s> {
        let Some(level) = self.levels.get(index) else { return ResolvedLevel::Ended };
        let placeholder = match level {
            TopicLevel::Name(name) => return ResolvedLevel::Step(FilterStep::Name(name)),
            TopicLevel::Any => return ResolvedLevel::Step(FilterStep::Any),
            TopicLevel::Rest => return ResolvedLevel::Step(FilterStep::Rest),
            TopicLevel::Filled(placeholder) => *placeholder,
        };
        match (values.get(placeholder), effect) {
            (PlaceholderValue::Missing, _) | (PlaceholderValue::Unfit, Effect::Allow) => {
                ResolvedLevel::Nothing
            }
            // A client can choose `$SYS` as its client id; that must not open the broker's own
            // topics.
            (PlaceholderValue::Fit(text), Effect::Allow)
                if FilterStep::Name(text).is_hidden(index) =>
            {
                ResolvedLevel::Nothing
            }
            (PlaceholderValue::Fit(text), _) => ResolvedLevel::Step(FilterStep::Name(text)),
            (PlaceholderValue::Unfit, Effect::Deny) => ResolvedLevel::Step(FilterStep::Any),
        }
    }

    /// Whether the pattern matches a topic of `depth` levels that all matched: `a/#` matches `a`
    /// too.
    fn matches_end_at(&self, depth: usize) -> bool {
        self.levels.len() == depth || self.is_rest(depth)
    }

    fn is_rest(&self, index: usize) -> bool {
        self.levels.get(index) == Some(&TopicLevel::Rest)
    }
}

/// Whether `patterns` together match every requested topic. It consumes the list.
pub fn cover_together(
    patterns: &mut Vec<&Pattern>,
    requested: &TopicFilter<'_>,
    values: &Values<'_>,
) -> bool {
    let mut depth = 0;
    for (index, step) in requested.steps().enumerate() {
        if step == FilterStep::Rest {
            return cover_all_below(patterns, index, values);
        }
        let mut is_settled = false;
        patterns.retain(|pattern| {
            let agreement = pattern.resolve_level(index, values, Effect::Allow).holds(step, index);
            is_settled |= agreement == Agreement::WithAllBelow;
            agreement != Agreement::None
        });
        if is_settled {
            return true;
        }
        depth = index + 1;
    }
    patterns.iter().any(|pattern| pattern.matches_end_at(depth))
}

/// Decides the rest of a filter that ends in `#`: the patterns must match topics of this and of
/// every greater depth.
fn cover_all_below(patterns: &mut Vec<&Pattern>, mut depth: usize, values: &Values<'_>) -> bool {
    while !patterns.is_empty() {
        if patterns.iter().any(|pattern| pattern.is_rest(depth)) {
            return true;
        }
        // Every topic has at least one level, so no pattern ends at depth 0.
        if depth > 0 && !patterns.iter().any(|pattern| pattern.levels.len() == depth) {
            return false;
        }
        patterns.retain(|pattern| {
            pattern.resolve_level(depth, values, Effect::Allow)
                == ResolvedLevel::Step(FilterStep::Any)
        });
        depth += 1;
    }
    false
}

// === impl ResolvedLevel ===

impl ResolvedLevel<'_> {
    /// Whether this level matches every name of the requested level.
    fn holds(self, requested: FilterStep<'_>, index: usize) -> Agreement {
        match (self, requested) {
            (Self::Step(FilterStep::Rest), step) if !step.is_hidden(index) => {
                Agreement::WithAllBelow
            }
            (Self::Step(FilterStep::Any), step)
                if step != FilterStep::Rest && !step.is_hidden(index) =>
            {
                Agreement::SoFar
            }
            (Self::Step(FilterStep::Name(own)), FilterStep::Name(name)) if own == name => {
                Agreement::SoFar
            }
            _ => Agreement::None,
        }
    }
}

// === impl TopicLevel ===

impl TopicLevel {
    fn of(step: FilterStep<'_>) -> Result<Self, PatternError> {
        match step {
            FilterStep::Name(name) if name.contains(['{', '}']) => {
                let known =
                    Placeholder::ALL.into_iter().find(|placeholder| placeholder.text() == name);
                known.map(Self::Filled).ok_or_else(|| PatternError::Placeholder(name.to_owned()))
            }
            FilterStep::Name(name) => Ok(Self::Name(name.into())),
            FilterStep::Any => Ok(Self::Any),
            FilterStep::Rest => Ok(Self::Rest),
        }
    }
}
