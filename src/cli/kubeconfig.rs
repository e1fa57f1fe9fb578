//! `coracle kubeconfig`

use clap::Args;

use super::Place;

#[derive(Args)]
pub(super) struct Kubeconfig {
    #[command(flatten)]
    place: Place,
}

impl Kubeconfig {
    pub(super) fn run(self) -> Result<(), String> {
        let data = self.place.existing()?;
        let path = data.running().map_or_else(|| data.kubeconfig(), |running| running.kubeconfig);
        let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        print!("{text}");
        Ok(())
    }
}
