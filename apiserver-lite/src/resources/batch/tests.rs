use super::{cronjobs::CronJobs, jobs::Jobs};
use crate::resources::{Part, recorded::check};

#[test]
fn new_jobs() {
    check(&Jobs, Part::Whole, include_str!("recorded/jobs.new.json"));
}

#[test]
fn updates_of_jobs() {
    check(&Jobs, Part::Whole, include_str!("recorded/jobs.update.json"));
}

#[test]
fn statuses_of_jobs() {
    check(&Jobs, Part::Status, include_str!("recorded/jobs.status.json"));
}

#[test]
fn cron_jobs() {
    check(&CronJobs, Part::Whole, include_str!("recorded/cronjobs.new.json"));
}
