//! `/doctor`: examines the daemon, the broker and Postgres, as `sluice doctor` does.
//!
//! At most one examination runs; a recent one is shown again. It changes nothing.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::http::api::extract::{Call, NoBody, NoParams};
use crate::http::api::params::{Param, Whole};
use crate::http::api::problem::{Problem, ProblemKind};
use crate::http::api::route::OkJson;
use crate::http::api::state::{Api, WAIT_SECONDS_MAX};
use crate::http::views::doctor::DoctorView;

/// The age of an examination that is always shown again, in seconds.
const LEAST_AGE: u32 = 10;

/// Which examination to show, and how long to wait for one.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DoctorParams {
    /// Show the last examination if it is not older than this, in seconds; the default is 10, which is the minimum.
    max_age: Option<Param<Whole<LEAST_AGE, 86_400>>>,
    /// How long to wait for the end of the examination, in seconds; the default is 20. Later, the response shows how far it
    /// is.
    wait: Option<Param<Whole<0, WAIT_SECONDS_MAX>>>,
}

pub(crate) async fn show(
    api: Api,
    call: Call<NoParams, DoctorParams, NoBody>,
) -> Result<OkJson<DoctorView>, Problem> {
    let age = call.query.max_age.map_or(LEAST_AGE, |Param(Whole(seconds))| seconds);
    let wait = call.query.wait.map_or(WAIT_SECONDS_MAX, |Param(Whole(seconds))| seconds);
    let seconds = |number: u32| Duration::from_secs(number.into());
    let visits = api.doctor.consult(seconds(age), seconds(wait)).await;
    DoctorView::of(&visits).map(OkJson).ok_or_else(|| {
        Problem::new(ProblemKind::Unavailable, "the examination has not begun: try again")
    })
}
