//! What upstream's controllers and scheduler do, seen through the API of a
//! whole cluster in this process. One file a controller.

mod bad_input;
mod cluster;
mod cron_job;
mod daemon_set;
mod disruption;
mod dynamic_resources;
mod endpoint_slice;
mod garbage;
mod job;
mod leader;
mod namespace;
mod node;
mod node_pools;
mod pod_life;
mod replica_set;
mod replication_controller;
mod resource_quota;
mod scale;
mod service;
mod stages;
mod stateful_set;
mod ttl;
mod volume;
