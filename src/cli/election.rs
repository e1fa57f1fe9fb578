//! The flags of a component that stands for election, upstream's names.

use std::time::Duration;

use clap::{Args, ValueEnum};
use coracle_controllers::framework::Election;

#[derive(Args)]
pub(super) struct ElectionFlags {
    /// Whether several of these may run, of which one leads
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    leader_elect: bool,
    /// How long the others wait for a leader that does not renew
    #[arg(long, default_value = "15s", value_parser = duration, value_name = "DURATION")]
    leader_elect_lease_duration: Duration,
    /// How long a leader tries to renew before it stops
    #[arg(long, default_value = "10s", value_parser = duration, value_name = "DURATION")]
    leader_elect_renew_deadline: Duration,
    /// Time between two tries
    #[arg(long, default_value = "2s", value_parser = duration, value_name = "DURATION")]
    leader_elect_retry_period: Duration,
    /// What is held to lead
    #[arg(long, value_enum, default_value = "leases", value_name = "KIND")]
    leader_elect_resource_lock: Lock,
    /// The name of the Lease [default: upstream's component's]
    #[arg(long, value_name = "NAME")]
    leader_elect_resource_name: Option<String>,
    /// The namespace of the Lease
    #[arg(long, default_value = "kube-system", value_name = "NAMESPACE")]
    leader_elect_resource_namespace: String,
}

#[derive(Clone, Copy, ValueEnum)]
enum Lock {
    Leases,
}

impl ElectionFlags {
    /// The election for the Lease `name`, unless none is wanted.
    pub(super) fn election(&self, name: &str) -> Result<Option<Election>, String> {
        let Lock::Leases = self.leader_elect_resource_lock;
        if !self.leader_elect {
            return Ok(None);
        }
        let name = self.leader_elect_resource_name.as_deref().unwrap_or(name);
        let election = Election {
            namespace: self.leader_elect_resource_namespace.clone(),
            lease_duration: self.leader_elect_lease_duration,
            renew_deadline: self.leader_elect_renew_deadline,
            retry_period: self.leader_elect_retry_period,
            ..Election::new(name, identity())
        };
        election.validate().map_err(|error| error.to_string())?;
        Ok(Some(election))
    }
}

// The host for people, and something that no other process has.
fn identity() -> String {
    let host = rustix::system::uname();
    let host = host.nodename().to_string_lossy().to_lowercase();
    format!("{host}_{}", uuid::Uuid::new_v4())
}

/// A duration in Go's notation, `1m30s`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let parsed: kube::core::Duration = text.parse().map_err(|error| format!("{error}"))?;
    if parsed.is_negative() {
        return Err("it must not be negative".to_owned());
    }
    Ok(parsed.into())
}
