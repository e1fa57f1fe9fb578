//! One of several processes leads: client-go's election by a Lease.
//!
//! Start at [`Election::run`]. Whoever holds the Lease renews it; the others
//! take it when they have not seen it renewed for as long as it lasts. What
//! others' clocks say plays no part, only how long ago a change was seen here.
//!
//! Invariant: what leads is dropped before another may take over.

use std::{future::Future, sync::Arc, time::Duration};

use coracle_api::metrics::{Counter, Family, Gauge, Registry};
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use kube::{Api, Client, api::PostParams};
use rand::Rng;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Clock, Error, Recorder, Severity, absent, measures, reflector::until};

/// The retry period is drawn out by up to this, so that candidates do not ask
/// all at once.
const JITTER: f64 = 1.2;

/// How a process stands for election. The defaults are upstream's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Election {
    /// The namespace of the Lease.
    pub namespace: String,
    /// The name of the Lease.
    pub name: String,
    /// Who stands; no other candidate has this name.
    pub identity: String,
    /// How long a Lease that is not renewed is waited for.
    pub lease_duration: Duration,
    /// How long the holder tries to renew before it gives up.
    pub renew_deadline: Duration,
    /// Time between two tries.
    pub retry_period: Duration,
}

/// A setting that makes no sense, in upstream's words.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ElectionError {
    /// The holder might still act when another takes over.
    #[error("leaseDuration must be greater than renewDeadline")]
    DeadlineAfterLease,
    /// The holder would never try twice.
    #[error("renewDeadline must be greater than retryPeriod*JitterFactor")]
    RetryAfterDeadline,
    /// A Lease counts whole seconds.
    #[error("leaseDuration must be greater than zero")]
    Zero,
    /// Without a name there is no holder.
    #[error("Lock identity is empty")]
    NoIdentity,
}

/// How leading has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// As it was asked to, or because the work was done.
    Done,
    /// The Lease was not renewed in time: another may lead.
    Lost,
}

impl Election {
    /// The election that `name` stands for in `kube-system`.
    pub fn new(name: impl Into<String>, identity: impl Into<String>) -> Self {
        Self {
            namespace: "kube-system".to_owned(),
            name: name.into(),
            identity: identity.into(),
            lease_duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
        }
    }

    /// Checks the settings.
    /// # Errors
    /// The first that makes no sense.
    pub fn validate(&self) -> Result<(), ElectionError> {
        if self.lease_duration <= self.renew_deadline {
            return Err(ElectionError::DeadlineAfterLease);
        }
        if self.renew_deadline <= self.retry_period.mul_f64(JITTER) {
            return Err(ElectionError::RetryAfterDeadline);
        }
        if self.lease_duration < Duration::from_secs(1) || self.retry_period.is_zero() {
            return Err(ElectionError::Zero);
        }
        if self.identity.is_empty() {
            return Err(ElectionError::NoIdentity);
        }
        Ok(())
    }

    /// Waits for the Lease, then does `work` for as long as it is held, and
    /// gives it up at the end.
    ///
    /// At `shutdown` the work's token is cancelled and its end awaited, with
    /// the Lease still renewed; when the Lease is lost, the work is dropped.
    /// `metrics` shows meanwhile who leads.
    pub async fn run<F: Future<Output = ()>>(
        self,
        client: Client,
        clock: Clock,
        metrics: &Registry,
        events: Option<Recorder>,
        shutdown: CancellationToken,
        work: impl FnOnce(CancellationToken) -> F,
    ) -> Ended {
        let api = Api::namespaced(client, &self.namespace);
        let leads = metrics.family::<Gauge>(&measures::LEADS).with(&[&self.name]);
        let slow = metrics.family::<Counter>(&measures::SLOW_RENEWALS);
        let mut candidate = Candidate { election: self, api, clock, slow, seen: None };
        leads.set(0.0);
        if until(&shutdown, candidate.acquire()).await.is_none() {
            return Ended::Done;
        }
        leads.set(1.0);
        if let (Some(events), Some(seen)) = (&events, &candidate.seen) {
            let message = format!("{} became leader", candidate.election.identity);
            events.event(&seen.lease, Severity::Normal, "LeaderElection", message);
        }
        let ended = tokio::select! {
            () = work(shutdown) => Ended::Done,
            () = candidate.keep() => Ended::Lost,
        };
        leads.set(0.0);
        if ended == Ended::Done {
            candidate.release().await;
        }
        ended
    }
}

/// The Lease as last seen or written, and since when it has been so.
struct Seen {
    lease: Lease,
    since: Instant,
}

struct Candidate {
    election: Election,
    api: Api<Lease>,
    clock: Clock,
    slow: Arc<Family<Counter>>,
    seen: Option<Seen>,
}

impl Candidate {
    async fn acquire(&mut self) {
        while !self.try_to_hold().await {
            let drawn_out = 1.0 + rand::rng().random_range(0.0..JITTER);
            tokio::time::sleep(self.election.retry_period.mul_f64(drawn_out)).await;
        }
    }

    /// Renews until that has failed for the whole of the deadline.
    async fn keep(&mut self) {
        loop {
            tokio::time::sleep(self.election.retry_period).await;
            let (deadline, period) = (self.election.renew_deadline, self.election.retry_period);
            let renewing = async {
                while !self.try_to_hold().await {
                    tokio::time::sleep(period).await;
                }
            };
            if tokio::time::timeout(deadline, renewing).await.is_err() {
                return;
            }
        }
    }

    /// True when the Lease is ours afterwards.
    async fn try_to_hold(&mut self) -> bool {
        self.hold().await.unwrap_or_else(|error| {
            tracing::debug!(lease = self.election.name, %error, "no answer about the lease");
            false
        })
    }

    async fn hold(&mut self) -> Result<bool, Error> {
        // What was written last is most likely what is there.
        if let Some(seen) = self.seen.as_ref().filter(|seen| self.is_ours(&seen.lease) && lasts(seen)) {
            let renewed = self.renewed(&seen.lease);
            if let Ok(lease) = self.write(&renewed).await {
                self.see(lease);
                return Ok(true);
            }
        }
        let Some(there) = absent(self.api.get(&self.election.name).await)? else {
            let created = self.api.create(&PostParams::default(), &self.first()).await?;
            self.see(created);
            return Ok(true);
        };
        if self.seen.as_ref().is_none_or(|seen| seen.lease.spec != there.spec) {
            self.see(there.clone());
        }
        let held = holder(&there).is_some() && self.seen.as_ref().is_some_and(lasts);
        if held && !self.is_ours(&there) {
            return Ok(false);
        }
        let taken = if self.is_ours(&there) {
            self.slow.with(&[&self.election.name]).inc();
            self.renewed(&there)
        } else {
            self.taken(&there)
        };
        let lease = self.write(&taken).await?;
        self.see(lease);
        Ok(true)
    }

    /// Lets the next candidate have it at once.
    async fn release(&mut self) {
        let releasing = async {
            while let Ok(Some(mut lease)) = absent(self.api.get(&self.election.name).await) {
                if !self.is_ours(&lease) {
                    return;
                }
                let now = MicroTime(self.clock.now());
                let spec = lease.spec.get_or_insert_default();
                spec.holder_identity = Some(String::new());
                spec.lease_duration_seconds = Some(1);
                spec.acquire_time = Some(now.clone());
                spec.renew_time = Some(now);
                match self.write(&lease).await {
                    // A renewal that was under way came first.
                    Err(error) if error.is_conflict() => {}
                    _ => return,
                }
            }
        };
        let _ = tokio::time::timeout(self.election.renew_deadline, releasing).await;
    }

    async fn write(&self, lease: &Lease) -> Result<Lease, Error> {
        Ok(self.api.replace(&self.election.name, &PostParams::default(), lease).await?)
    }

    fn see(&mut self, lease: Lease) {
        self.seen = Some(Seen { lease, since: Instant::now() });
    }

    fn is_ours(&self, lease: &Lease) -> bool {
        holder(lease) == Some(&self.election.identity)
    }

    fn first(&self) -> Lease {
        let metadata = ObjectMeta {
            namespace: Some(self.election.namespace.clone()),
            name: Some(self.election.name.clone()),
            ..ObjectMeta::default()
        };
        let mut lease = Lease { metadata, spec: None };
        lease = self.taken(&lease);
        lease.spec.get_or_insert_default().lease_transitions = Some(0);
        lease
    }

    fn taken(&self, there: &Lease) -> Lease {
        let now = MicroTime(self.clock.now());
        let before = there.spec.as_ref().and_then(|spec| spec.lease_transitions).unwrap_or_default();
        let spec = LeaseSpec {
            acquire_time: Some(now),
            lease_transitions: Some(before.saturating_add(1)),
            ..LeaseSpec::default()
        };
        self.renewed(&Lease { spec: Some(spec), ..there.clone() })
    }

    fn renewed(&self, there: &Lease) -> Lease {
        let mut lease = there.clone();
        let spec = lease.spec.get_or_insert_default();
        spec.holder_identity = Some(self.election.identity.clone());
        spec.lease_duration_seconds = i32::try_from(self.election.lease_duration.as_secs()).ok();
        spec.renew_time = Some(MicroTime(self.clock.now()));
        lease
    }
}

fn holder(lease: &Lease) -> Option<&String> {
    lease.spec.as_ref()?.holder_identity.as_ref().filter(|holder| !holder.is_empty())
}

/// True while whoever holds what was seen may still lead.
fn lasts(seen: &Seen) -> bool {
    let seconds = seen.lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds).unwrap_or_default();
    seen.since.elapsed() < Duration::from_secs(u64::try_from(seconds).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_make_no_sense_are_refused() {
        let check = |change: fn(&mut Election), expected: Result<(), ElectionError>| {
            let mut election = Election::new("loops", "me");
            change(&mut election);
            assert_eq!(election.validate(), expected, "{election:?}");
        };
        check(|_| {}, Ok(()));
        check(|e| e.renew_deadline = e.lease_duration, Err(ElectionError::DeadlineAfterLease));
        check(|e| e.retry_period = Duration::from_secs(9), Err(ElectionError::RetryAfterDeadline));
        check(|e| e.retry_period = Duration::ZERO, Err(ElectionError::Zero));
        check(|e| e.identity.clear(), Err(ElectionError::NoIdentity));
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_lasts_from_when_it_was_seen() {
        let lease = |seconds| Lease {
            spec: Some(LeaseSpec { lease_duration_seconds: seconds, ..LeaseSpec::default() }),
            ..Lease::default()
        };
        let seen = Seen { lease: lease(Some(15)), since: Instant::now() };
        let odd = Seen { lease: lease(Some(-1)), since: Instant::now() };
        assert!(lasts(&seen) && !lasts(&odd));
        tokio::time::advance(Duration::from_secs(15)).await;
        assert!(!lasts(&seen));
    }
}
