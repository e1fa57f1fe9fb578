//! One of several leads.

use std::time::Duration;

use coracle::Options;
use coracle_api::metrics::Registry;
use coracle_controllers::framework::{Clock, Election, Ended};
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client, api::DeleteParams};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::cluster::{PATIENCE, until, with_options};

fn candidate(name: &str) -> Election {
    Election {
        lease_duration: Duration::from_secs(3),
        renew_deadline: Duration::from_secs(2),
        retry_period: Duration::from_millis(100),
        ..Election::new("the-loops", name)
    }
}

fn stand(
    client: &Client,
    name: &'static str,
    leads: &mpsc::UnboundedSender<&'static str>,
) -> (CancellationToken, tokio::task::JoinHandle<Ended>) {
    let (shutdown, leads) = (CancellationToken::new(), leads.clone());
    let (client, told) = (client.clone(), shutdown.clone());
    let running = tokio::spawn(async move {
        let work = |shutdown: CancellationToken| async move {
            let _ = leads.send(name);
            shutdown.cancelled().await;
        };
        candidate(name).run(client, Clock::system(), &Registry::default(), None, told, work).await
    });
    (shutdown, running)
}

#[tokio::test(flavor = "multi_thread")]
async fn one_leads_and_the_next_follows() {
    let quiet = || Options { controllers: String::new(), scheduler: false, nodes: 0, ..Options::default() };
    let outcome = with_options(quiet(), async |client| {
        let (leads, mut leader) = mpsc::unbounded_channel();
        let leases: Api<Lease> = Api::namespaced(client.clone(), "kube-system");
        let (stop_first, first) = stand(&client, "first", &leads);
        assert_eq!(tokio::time::timeout(PATIENCE, leader.recv()).await?, Some("first"));
        let (_stop_second, second) = stand(&client, "second", &leads);
        let renewed = |lease: &Lease| lease.spec.as_ref().and_then(|spec| spec.renew_time.clone());
        let before = renewed(&leases.get("the-loops").await?);
        until(&leases, "the-loops", |lease| renewed(lease) > before).await?;
        assert!(leader.try_recv().is_err(), "two lead");
        // Who stops gives it up; the next need not wait.
        stop_first.cancel();
        assert_eq!(first.await?, Ended::Done);
        assert_eq!(tokio::time::timeout(PATIENCE, leader.recv()).await?, Some("second"));
        let spec = leases.get("the-loops").await?.spec.unwrap_or_default();
        assert_eq!(spec.holder_identity.as_deref(), Some("second"));
        assert_eq!(spec.lease_transitions, Some(1));
        // Somebody takes it away: who led notices, and stops.
        leases.delete("the-loops", &DeleteParams::default()).await?;
        let mut taken = Lease::default();
        taken.metadata.name = Some("the-loops".to_owned());
        let spec = taken.spec.get_or_insert_default();
        (spec.holder_identity, spec.lease_duration_seconds) = (Some("thief".to_owned()), Some(3600));
        let written = leases.create(&Default::default(), &taken).await;
        // It may have been made anew first.
        if written.is_ok() {
            assert_eq!(tokio::time::timeout(PATIENCE, second).await??, Ended::Lost);
        }
        Ok(())
    });
    outcome.await.expect("one leads");
}
