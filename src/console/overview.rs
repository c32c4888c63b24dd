//! `/console`: whether all is well.
//!
//! It reads only.

use askama::Template;

use super::filters;
use super::frame::{Frame, NavPage};
use super::page::Page;
use super::visit::Visit;

/// The page.
#[derive(Template)]
#[template(path = "overview.html")]
pub(crate) struct OverviewPage {
    frame: Frame,
}

pub(crate) async fn show(visit: Visit) -> Page<OverviewPage> {
    Page(OverviewPage { frame: visit.frame("Overview", NavPage::Overview) })
}
