//! Writes the corpus as CSV files: `cargo run -p leaktrace-corpus --example dump -- SEED COUNT DIRECTORY`.

use std::{env, error::Error, fmt::Write as _, fs, path::Path};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [seed, count, directory] = arguments.as_slice() else { return Err("SEED COUNT DIRECTORY".into()) };
    fs::create_dir_all(directory)?;
    let mut index = String::from("file,name,class,rate,noise_sd,ease\n");
    for (i, series) in leaktrace_corpus::generate(seed.parse()?, count.parse()?).iter().enumerate() {
        let mut csv = String::from("t,bytes\n");
        for (t, bytes) in &series.points {
            writeln!(csv, "{t},{bytes}")?;
        }
        let file = format!("{i:05}.csv");
        fs::write(Path::new(directory).join(&file), csv)?;
        let rate = series.rate.map_or_else(String::new, |rate| rate.to_string());
        let (name, class) = (&series.name, series.class.name());
        writeln!(index, "{file},{name},{class},{rate},{},{}", series.noise_sd, series.ease)?;
    }
    fs::write(Path::new(directory).join("index.csv"), index)?;
    Ok(())
}
