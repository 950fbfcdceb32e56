//! `flows` and `flows errors`.

use crate::domain::complaint::Complaint;

use super::super::desk::{Desk, Out, row};
use super::super::protocol::{AdminError, Filter};
use super::super::views::{ComplaintView, FlowView};
use super::{Counted, Pick, is_before, walk};

pub(in crate::admin) fn flows(desk: &Desk, out: &mut Out<'_>) -> Result<(), AdminError> {
    desk.catalog().flows.values().try_for_each(|flow| row(out, FlowView::from(&**flow)))
}

pub(in crate::admin) fn complaints(desk: &Desk, filter: &Filter, out: &mut Out<'_>) -> Result<(), AdminError> {
    let mut out = Counted::new(filter.most(), out);
    let pick = |_: &_, _: &_, _, complaint: Complaint| {
        if is_before(filter, complaint.at) {
            return Ok(Pick::Stop);
        }
        let wanted = filter.flow.as_ref().is_none_or(|flow| *flow == complaint.flow);
        Ok(Pick::when(wanted, || ComplaintView::from(complaint)))
    };
    walk(desk, pick, |view| out.send(view))
}
