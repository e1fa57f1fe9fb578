//! `coracle status`

use clap::Args;

use super::Place;

#[derive(Args)]
pub(super) struct Status {
    #[command(flatten)]
    place: Place,
}

impl Status {
    pub(super) fn run(self) -> Result<(), String> {
        let data = self.place.existing()?;
        match data.running() {
            Some(running) => {
                println!("running");
                println!("  process     {}", running.pid);
                println!("  API         {}", running.url);
                println!("  kubeconfig  {}", running.kubeconfig.display());
                println!("  data        {}", data.path().display());
                Ok(())
            }
            None => Err(format!("no cluster runs on {}", data.path().display())),
        }
    }
}
