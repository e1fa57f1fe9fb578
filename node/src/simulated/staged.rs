//! Simulated nodes that Stages select.

use std::sync::Arc;

use coracle_controllers::framework::{Error, Key, Next, Queue, Reconcile, Setup, Store, Style};
use coracle_crds::stage::Kind;
use k8s_openapi::api::core::v1::Node;
use kube::{Api, Client};

use super::fleet::Fleet;
use crate::stage::{
    Course, Stage, Stages,
    player::{Played, Player},
    revision,
};

const WORKERS: usize = 16;

/// Puts them in.
pub(super) fn start(setup: &mut Setup, fleet: Arc<Fleet>, stages: Arc<Stages>) {
    let reflector = setup.reflect::<Node>();
    let queue = Queue::new();
    let (on_node, seeing, playing) = (queue.clone(), stages.clone(), fleet.clone());
    reflector.on_change(move |change| {
        let Some(node) = change.sides().last() else { return };
        let Some(name) = node.metadata.name.as_deref() else { return };
        if change.after.is_none() {
            seeing.forget(node.metadata.uid.as_deref().unwrap_or_default());
        } else if playing.number(name).is_some() {
            on_node.add(Key::cluster(name));
        }
    });
    let (on_stage, known) = (queue.clone(), reflector.store());
    stages.on_change(move |stage| {
        if !stage.is_for(Kind::Node) {
            return;
        }
        let selected = known.all().into_iter().filter(|node| stage.may_select(&node.metadata));
        on_stage.extend(selected.map(|node| Key::of(&node.metadata)));
    });
    let player = Player { clock: setup.clock.clone(), events: setup.recorder("kubelet", Style::Counted) };
    let nodes = Nodes { client: setup.client.clone(), fleet, stages, player, store: reflector.store() };
    setup.reconcile("staged-nodes", queue, WORKERS, nodes);
}

struct Nodes {
    client: Client,
    fleet: Arc<Fleet>,
    stages: Arc<Stages>,
    player: Player,
    store: Arc<Store<Node>>,
}

impl Reconcile<Key> for Nodes {
    async fn reconcile(&self, key: &Key) -> Result<Next, Error> {
        let Some(node) = self.store.get(key) else { return Ok(Next::Change) };
        if self.fleet.number(&key.name).is_none() {
            return Ok(Next::Change);
        }
        match self.stages.course(Kind::Node, &*node, Vec::new) {
            Course::Free | Course::Wait(None) => Ok(Next::Change),
            Course::Wait(Some(wait)) => Ok(Next::After(wait)),
            Course::Play(stage) => self.play(&node, &stage).await,
        }
    }
}

impl Nodes {
    async fn play(&self, node: &Node, stage: &Stage) -> Result<Next, Error> {
        let api = Api::<Node>::all(self.client.clone());
        let uid = node.metadata.uid.as_deref().unwrap_or_default();
        match self.player.play(&api, stage, node, Vec::new()).await {
            Ok(Played::Kept(written)) => {
                self.stages.played(stage, uid, written.as_ref().map_or(0, revision));
                // Where nothing was written, nothing else would bring it back.
                let unchanged =
                    written.is_none_or(|it| it.metadata.resource_version == node.metadata.resource_version);
                let at_once = stage.looks_on() && unchanged;
                Ok(if at_once { Next::After(std::time::Duration::from_millis(1)) } else { Next::Change })
            }
            Ok(Played::Gone) => {
                self.stages.played(stage, uid, 0);
                Ok(Next::Change)
            }
            Ok(Played::Lost) => {
                Err(Error::Stale(format!("node {}", node.metadata.name.as_deref().unwrap_or_default())))
            }
            Err(error) => {
                self.stages.failed(stage, uid, error.to_string());
                Err(error)
            }
        }
    }
}
