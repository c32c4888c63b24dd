//! The topic patterns of rules: filters whose levels may be filled in from whoever asks, and which topics they hold.
//!
//! # Containment
//! All filters advance by one level at a time, so whether one is held by others together is decided in one walk: the
//! patterns that agree so far are kept, level by level. Where the filter has a wildcard, it matches some name that no
//! pattern spells out (there are infinitely many), so only patterns with a wildcard there are kept. Any other name keeps
//! these and perhaps more, so it needs no look of its own. The answer is exact and its cost is levels times patterns.
//!
//! # Values
//! A value that could be read as more than one level is never put into a pattern. A rule that allows then matches
//! nothing; a rule that denies takes any name at that level, so that nobody slips by with an odd client id.

use super::effect::Effect;
use super::filter::{FilterError, FilterStep, TopicFilter};
use crate::access::hooks::subject::{Subject, SubjectKind};

/// What is filled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placeholder {
    /// `{tenant}`, of a device.
    Tenant,
    /// `{device}`, of a device.
    Device,
    /// `{sub}`: the subject's id.
    Sub,
    /// `{client_id}`: as the client calls itself.
    ClientId,
}

/// A topic pattern of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: Box<str>,
    /// How much of the text are names and nothing else: what does not begin so is settled by one look.
    names: usize,
    levels: Box<[TopicLevel]>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum TopicLevel {
    Name(Box<str>),
    Any,
    Rest,
    Filled(Placeholder),
}

/// One level of a pattern for one who asks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Own<'a> {
    /// The pattern has no such level.
    Ended,
    /// Nothing can be filled in: no name is matched.
    Nothing,
    Step(FilterStep<'a>),
}

/// How far a level of a pattern holds a level that is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Agreement {
    None,
    SoFar,
    WithAllBelow,
}

/// Why a text is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// It is no filter.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// Braces around something else, or not around a whole level.
    #[error("{0:?} is no placeholder: {{tenant}}, {{device}}, {{sub}} and {{client_id}} are, each as a whole level")]
    Placeholder(String),
}

/// What the placeholders stand for, of one who asks.
#[derive(Clone, Copy, Debug)]
pub struct Values<'a> {
    tenant: PlaceholderValue<'a>,
    device: PlaceholderValue<'a>,
    sub: PlaceholderValue<'a>,
    client_id: PlaceholderValue<'a>,
}

#[derive(Clone, Copy, Debug)]
enum PlaceholderValue<'a> {
    /// Whoever asks has none.
    Missing,
    /// It would not stay within its level.
    Unfit,
    Fit(&'a str),
}

// === impl Placeholder ===

impl Placeholder {
    const ALL: [Self; 4] = [Self::Tenant, Self::Device, Self::Sub, Self::ClientId];

    /// As a pattern spells it.
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
    /// Of this subject under this client id.
    pub fn of(subject: &'a Subject, client_id: &'a str) -> Self {
        let (tenant, device) = match &subject.kind {
            SubjectKind::Device(key) => (PlaceholderValue::new(key.tenant()), PlaceholderValue::new(key.device())),
            SubjectKind::Service | SubjectKind::User | SubjectKind::Guest => {
                (PlaceholderValue::Missing, PlaceholderValue::Missing)
            }
        };
        Self { tenant, device, sub: PlaceholderValue::new(&subject.id), client_id: PlaceholderValue::new(client_id) }
    }

    /// Each placeholder stands for itself: patterns are compared as they are written. No name of a pattern has braces.
    pub(super) const fn as_written() -> Values<'static> {
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

// === impl Value ===

impl<'a> PlaceholderValue<'a> {
    fn new(text: &'a str) -> Self {
        let fits = !text.is_empty() && !text.bytes().any(|byte| matches!(byte, b'+' | b'#' | b'/' | 0));
        if fits { Self::Fit(text) } else { Self::Unfit }
    }
}

// === impl Pattern ===

impl Pattern {
    /// Parses a pattern of a rule.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let levels: Result<Box<[TopicLevel]>, _> = TopicFilter::parse(text)?.steps().map(TopicLevel::of).collect();
        let mut levels = levels?;
        if *levels == [TopicLevel::Any, TopicLevel::Rest] {
            // The same topics, since none has no level; with one spelling of it `covers` need not look twice.
            levels = Box::new([TopicLevel::Rest]);
        }
        let lengths = levels.iter().map_while(|level| match level {
            TopicLevel::Name(name) => Some(name.len()),
            TopicLevel::Any | TopicLevel::Rest | TopicLevel::Filled(_) => None,
        });
        let names = lengths.reduce(|all, length| all + "/".len() + length).unwrap_or_default();
        Ok(Self { text: text.into(), names, levels })
    }

    /// As it is written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it is the same pattern, however it is spelled.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.levels == other.levels
    }

    /// Whether something is filled in for this placeholder.
    pub fn has(&self, placeholder: Placeholder) -> bool {
        self.levels.contains(&TopicLevel::Filled(placeholder))
    }

    /// Whether it matches every topic that is asked for, as the pattern of a rule that allows.
    pub fn covers(&self, asked: &TopicFilter<'_>, values: &Values<'_>) -> bool {
        if !self.begins_like(asked) {
            return false;
        }
        let mut depth = 0;
        for (index, step) in asked.steps().enumerate() {
            match self.own(index, values, Effect::Allow).holds(step, index) {
                Agreement::WithAllBelow => return true,
                Agreement::SoFar => depth = index + 1,
                Agreement::None => return false,
            }
        }
        self.matches_end_at(depth)
    }

    /// Whether it matches any topic that is asked for, as the pattern of a rule that denies.
    pub fn overlaps(&self, asked: &TopicFilter<'_>, values: &Values<'_>) -> bool {
        if !asked.has_wildcards() && !self.begins_like(asked) {
            return false;
        }
        let mut depth = 0;
        for (index, step) in asked.steps().enumerate() {
            let own = match self.own(index, values, Effect::Deny) {
                Own::Ended => return step == FilterStep::Rest,
                Own::Nothing => return false,
                Own::Step(own) => own,
            };
            match (own, step) {
                _ if own.is_hidden(index) != step.is_hidden(index) => return false,
                (FilterStep::Rest, _) => return true,
                (_, FilterStep::Rest) => return self.can_be_met_from(index, values),
                (FilterStep::Name(own), FilterStep::Name(name)) if own != name => return false,
                _ => depth = index + 1,
            }
        }
        self.matches_end_at(depth)
    }

    fn begins_like(&self, asked: &TopicFilter<'_>) -> bool {
        asked.text().as_bytes().starts_with(&self.text.as_bytes()[..self.names])
    }

    fn can_be_met_from(&self, index: usize, values: &Values<'_>) -> bool {
        (index..self.levels.len()).all(|index| self.own(index, values, Effect::Deny) != Own::Nothing)
    }

    fn own<'s>(&'s self, index: usize, values: &Values<'s>, effect: Effect) -> Own<'s> {
        let Some(level) = self.levels.get(index) else { return Own::Ended };
        let placeholder = match level {
            TopicLevel::Name(name) => return Own::Step(FilterStep::Name(name)),
            TopicLevel::Any => return Own::Step(FilterStep::Any),
            TopicLevel::Rest => return Own::Step(FilterStep::Rest),
            TopicLevel::Filled(placeholder) => *placeholder,
        };
        match (values.get(placeholder), effect) {
            (PlaceholderValue::Missing, _) | (PlaceholderValue::Unfit, Effect::Allow) => Own::Nothing,
            // A client may call itself $SYS; that opens nothing of the broker's to it.
            (PlaceholderValue::Fit(text), Effect::Allow) if FilterStep::Name(text).is_hidden(index) => Own::Nothing,
            (PlaceholderValue::Fit(text), _) => Own::Step(FilterStep::Name(text)),
            (PlaceholderValue::Unfit, Effect::Deny) => Own::Step(FilterStep::Any),
        }
    }

    /// Whether a topic of so many levels, all of which agreed, is matched: `a/#` matches `a` too.
    fn matches_end_at(&self, depth: usize) -> bool {
        self.levels.len() == depth || self.is_rest(depth)
    }

    fn is_rest(&self, index: usize) -> bool {
        self.levels.get(index) == Some(&TopicLevel::Rest)
    }
}

/// Whether these patterns, none of which need do so alone, match every topic that is asked for. The list is used up.
pub fn cover_together(patterns: &mut Vec<&Pattern>, asked: &TopicFilter<'_>, values: &Values<'_>) -> bool {
    let mut depth = 0;
    for (index, step) in asked.steps().enumerate() {
        if step == FilterStep::Rest {
            return cover_all_below(patterns, index, values);
        }
        let mut is_settled = false;
        patterns.retain(|pattern| {
            let agreement = pattern.own(index, values, Effect::Allow).holds(step, index);
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

/// The same for a filter of which only `#` is left: topics of this depth and of every greater one must be matched.
fn cover_all_below(patterns: &mut Vec<&Pattern>, mut depth: usize, values: &Values<'_>) -> bool {
    while !patterns.is_empty() {
        if patterns.iter().any(|pattern| pattern.is_rest(depth)) {
            return true;
        }
        // No topic has no level, so at the very top none ends.
        if depth > 0 && !patterns.iter().any(|pattern| pattern.levels.len() == depth) {
            return false;
        }
        patterns.retain(|pattern| pattern.own(depth, values, Effect::Allow) == Own::Step(FilterStep::Any));
        depth += 1;
    }
    false
}

// === impl Own ===

impl Own<'_> {
    /// Whether it matches all names of the level asked for.
    fn holds(self, asked: FilterStep<'_>, index: usize) -> Agreement {
        match (self, asked) {
            (Self::Step(FilterStep::Rest), step) if !step.is_hidden(index) => Agreement::WithAllBelow,
            (Self::Step(FilterStep::Any), step) if step != FilterStep::Rest && !step.is_hidden(index) => {
                Agreement::SoFar
            }
            (Self::Step(FilterStep::Name(own)), FilterStep::Name(name)) if own == name => Agreement::SoFar,
            _ => Agreement::None,
        }
    }
}

// === impl Level ===

impl TopicLevel {
    fn of(step: FilterStep<'_>) -> Result<Self, PatternError> {
        match step {
            FilterStep::Name(name) if name.contains(['{', '}']) => {
                let known = Placeholder::ALL.into_iter().find(|placeholder| placeholder.text() == name);
                known.map(Self::Filled).ok_or_else(|| PatternError::Placeholder(name.to_owned()))
            }
            FilterStep::Name(name) => Ok(Self::Name(name.into())),
            FilterStep::Any => Ok(Self::Any),
            FilterStep::Rest => Ok(Self::Rest),
        }
    }
}
