//! Apache Kafka's programs from Maven Central, cached under `target/`.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// The directory with an artifact of `org.apache.kafka` and everything it runs with, fetched if
/// need be.
pub fn fetch(artifact: &str, version: &str) -> Result<PathBuf, String> {
    // Cargo names that directory to integration tests, not to benchmarks.
    let target = option_env!("CARGO_TARGET_TMPDIR").unwrap_or("target/tmp");
    // Maven would take a relative path for one below its own file.
    let target = std::path::absolute(target).map_err(|e| e.to_string())?;
    let cache = target.join(format!("{artifact}-{version}"));
    if cache.is_dir() {
        return Ok(cache);
    }
    // Made aside and renamed, for another test process may do the same.
    let work = cache.with_extension(format!("{}", std::process::id()));
    let jars = work.join("lib");
    fs::create_dir_all(&jars).map_err(|e| e.to_string())?;
    let pom = work.join("pom.xml");
    fs::write(&pom, pom_text(artifact, version)).map_err(|e| e.to_string())?;
    let output = Command::new("mvn")
        .args(["-q", "-B", "dependency:copy-dependencies", "-DincludeScope=runtime", "-f"])
        .arg(&pom)
        .arg(format!("-DoutputDirectory={}", jars.display()))
        .output()
        .map_err(|e| format!("mvn can't be run: {e}"))?;
    if !output.status.success() {
        return Err(format!("mvn: {}", String::from_utf8_lossy(&output.stdout)));
    }
    let _ = fs::rename(&jars, &cache);
    let _ = fs::remove_dir_all(&work);
    if cache.is_dir() { Ok(cache) } else { Err("mvn has copied no jars".to_owned()) }
}

fn pom_text(artifact: &str, version: &str) -> String {
    format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\">\
           <modelVersion>4.0.0</modelVersion>\
           <groupId>tests</groupId><artifactId>kafka</artifactId><version>1</version>\
           <packaging>pom</packaging>\
           <dependencies><dependency>\
             <groupId>org.apache.kafka</groupId><artifactId>{artifact}</artifactId>\
             <version>{version}</version>\
           </dependency></dependencies>\
         </project>"
    )
}
