//! The group `batch`.

pub mod cronjobs;
mod indexes;
mod job_spec;
mod job_status;
pub mod jobs;

#[cfg(test)]
mod tests;
