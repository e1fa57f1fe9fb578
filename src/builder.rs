//! Clusters by what their user wants of them: the way in for tests.

use std::{
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};

use coracle_controllers::framework::Clock;
use coracle_store::Mode;
use k8s_openapi::jiff::Timestamp;

use crate::{
    Cluster, Options,
    cluster::{self, StartError},
    data_dir::DataDir,
    pki::{Names, Pki},
};

/// What a cluster is to be like; [`start`](Builder::start) starts it.
///
/// Unless it is told otherwise, a cluster is kept in memory, listens nowhere,
/// and has all controllers, a scheduler and one simulated node.
///
/// ```
/// use k8s_openapi::api::core::v1::ConfigMap;
/// use kube::{Api, ResourceExt, api::PostParams};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let cluster = coracle::Cluster::builder().nodes(0).start().await?;
///
/// let maps: Api<ConfigMap> = Api::default_namespaced(cluster.client());
/// let mut wanted = ConfigMap::default();
/// wanted.metadata.generate_name = Some("a-".to_owned());
/// let made = maps.create(&PostParams::default(), &wanted).await?;
/// assert_eq!(maps.get(&made.name_any()).await?, made);
///
/// cluster.stop().await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
#[must_use = "a builder does nothing until it is started"]
pub struct Builder {
    options: Options,
    data: Option<Data>,
}

#[derive(Clone)]
struct Data {
    path: PathBuf,
    mode: fn(PathBuf) -> Mode,
}

impl Builder {
    /// How many simulated nodes there are. With none, pods stay pending.
    pub fn nodes(mut self, count: usize) -> Self {
        self.options.nodes = count;
        self
    }

    /// What each simulated node has.
    pub fn capacity(mut self, capacity: coracle_node::simulated::Capacity) -> Self {
        self.options.simulation.capacity = capacity;
        self
    }

    /// A label that each simulated node has, beside those of every node.
    pub fn node_label(mut self, key: &str, value: &str) -> Self {
        self.options.simulation.labels.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Also knows NodePools and Stages, and obeys them.
    pub fn node_pools(mut self) -> Self {
        self.options.simulation.pools = true;
        self
    }

    /// Which controllers run, in the syntax of kube-controller-manager's
    /// `--controllers`: `*,-job-controller`; none of them for an empty text.
    pub fn controllers(mut self, list: &str) -> Self {
        self.options.controllers = list.to_owned();
        self
    }

    /// Whether a scheduler runs.
    pub fn scheduler(mut self, runs: bool) -> Self {
        self.options.scheduler = runs;
        self
    }

    /// The API server and nothing else: no controllers, scheduler or nodes.
    /// What a test writes then stays as it was written.
    pub fn api_server_only(self) -> Self {
        self.controllers("").scheduler(false).nodes(0)
    }

    /// Keeps everything in `directory`, which is made where it is missing, as
    /// `coracle up --data-dir` does. What was acknowledged is there at the next start.
    pub fn data_dir(mut self, directory: impl AsRef<Path>) -> Self {
        self.data = Some(Data { path: directory.as_ref().to_owned(), mode: Mode::Durable });
        self
    }

    /// As [`data_dir`](Builder::data_dir), but a write is acknowledged before it
    /// is on the disk: faster, and the last writes may be lost with the machine.
    pub fn relaxed_data_dir(mut self, directory: impl AsRef<Path>) -> Self {
        self.data = Some(Data { path: directory.as_ref().to_owned(), mode: Mode::Relaxed });
        self
    }

    /// Also answers over TLS at `address`; port 0 takes a free one.
    /// [`Cluster::address`] then tells where, and [`Cluster::kubeconfig`] is for
    /// kubectl and other programs.
    pub fn listen(mut self, address: impl Into<SocketAddr>) -> Self {
        self.options.listen = Some(address.into());
        self
    }

    /// [Listens](Builder::listen) at a free port of this machine's loopback address.
    pub fn listen_locally(self) -> Self {
        self.listen(([127, 0, 0, 1], 0))
    }

    /// The range of cluster IPs, by default `10.96.0.0/12`.
    pub fn service_range(mut self, range: &str) -> Self {
        self.options.config.service_range = range.to_owned();
        self
    }

    /// Where API server, controllers, scheduler and nodes have the time from
    /// that they write and compare; by default the machine's clock. How long
    /// something waits is by tokio's clock, which a test can pause.
    pub fn clock(mut self, now: impl Fn() -> Timestamp + Clone + Send + Sync + 'static) -> Self {
        let clock = Clock::new(now.clone());
        self.options.config.clock = apiserver_lite::config::Clock::from(now);
        self.options.control.clock = clock.clone();
        self.options.simulation.clock = clock;
        self
    }

    /// All that can be set, also what has no method of its own.
    pub fn options(mut self, change: impl FnOnce(&mut Options)) -> Self {
        change(&mut self.options);
        self
    }

    /// Starts the cluster. When this returns, its API server answers.
    ///
    /// # Errors
    /// Nothing runs then. `Hold` for a directory whose cluster runs already.
    pub async fn start(self) -> Result<Cluster, StartError> {
        let mut options = self.options;
        let Some(data) = self.data else { return Cluster::start(options).await };
        let unusable = |error| StartError::Directory { path: data.path.clone(), error };
        let directory = DataDir::create(&data.path).map_err(unusable)?;
        let held = directory.hold()?;
        options.store = (data.mode)(directory.store());
        options.control.local_volumes.get_or_insert_with(|| directory.volumes());
        if options.pki.is_none() {
            let listen = options.listen.map_or(IpAddr::from([127, 0, 0, 1]), |address| address.ip());
            let addresses = cluster::addresses(listen, &options.config.service_range);
            let names = Names { addresses, hosts: Vec::new() };
            options.pki = Some(Pki::load_or_create(&directory.pki(), &names)?);
        }
        Ok(Cluster::start(options).await?.holding(held))
    }
}
