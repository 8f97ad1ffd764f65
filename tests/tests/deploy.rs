//! What `deploy/` holds is read by the programs that it is for.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;
use serde_json::Value;
use tests::server::program_path;
use tests::{TestServer, script};

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy")
}

/// Takes the comments off the example and starts a command with all of it.
#[test]
fn the_example_configuration_is_taken_whole() {
    let folder = tempfile::tempdir().unwrap();
    let example = std::fs::read_to_string(deploy().join("clonyvoice.toml")).unwrap();
    // Places that are empty in the example are those that nobody has to name.
    let set = |line: &&str| line.contains(" = ") && !line.contains("\"\"") && !line.starts_with(' ');
    let lines: Vec<&str> = example.lines().filter_map(|line| line.strip_prefix("# ")).filter(set).collect();
    assert!(lines.len() > 30, "{lines:?}");
    let file = folder.path().join("all.toml");
    let run = |text: String| {
        std::fs::write(&file, text).unwrap();
        let mut command = Command::new(program_path("clonyvoice"));
        command.args(["models", "list", "--config"]).arg(&file).arg("--data-dir").arg(folder.path().join("data"));
        command.output().unwrap()
    };
    let output = run(lines.join("\n"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let output = run(format!("{}\nlistens = 5\n", lines.join("\n")));
    assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains("listens"), "an unknown setting is named");
}

/// `systemd-analyze verify`, where there is one, on the unit with the program that was built.
#[test]
fn the_unit_is_understood() {
    let unit = std::fs::read_to_string(deploy().join("clonyvoice.service")).unwrap();
    assert!(unit.contains("ExecStart=/usr/local/bin/clonyvoice serve "));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("clonyvoice.service");
    let program = program_path("clonyvoice");
    std::fs::write(&file, unit.replace("/usr/local/bin/clonyvoice", program.to_str().unwrap())).unwrap();
    match Command::new("systemd-analyze").arg("verify").arg("--man=no").arg(&file).output() {
        Err(error) => println!("skipped: no systemd-analyze ({error})"),
        Ok(output) => {
            let told = String::from_utf8_lossy(&output.stderr).into_owned();
            let ours: Vec<&str> = told.lines().filter(|line| line.contains("clonyvoice.service")).collect();
            assert!(output.status.success() && ours.is_empty(), "{told}");
        }
    }
}

/// All documents of a YAML file.
fn documents(name: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(deploy().join(name)).unwrap();
    let read = |document| serde_yaml_ng::Value::deserialize(document).map(merged).unwrap();
    serde_yaml_ng::Deserializer::from_str(&text).map(read).collect()
}

/// With its merge keys (`<<`) taken in, as JSON.
fn merged(mut value: serde_yaml_ng::Value) -> Value {
    value.apply_merge().unwrap();
    serde_json::to_value(value).unwrap()
}

/// Names of all settings, from the example that shows each.
fn settings() -> Vec<String> {
    let example = std::fs::read_to_string(deploy().join("clonyvoice.toml")).unwrap();
    let name = |line: &str| Some(line.strip_prefix("# ")?.split_once(" = ")?.0.to_owned());
    example.lines().filter_map(name).collect()
}

/// Each variable of ours is a setting of ours, and the value is taken.
fn check_variables<'v>(variables: impl Iterator<Item = (&'v String, &'v Value)>) {
    let known = settings();
    for (name, _) in variables {
        if let Some(setting) = name.strip_prefix("CLONYVOICE_") {
            assert!(known.contains(&setting.to_lowercase()), "{name} is no setting");
        }
    }
}

#[test]
fn the_compose_file_holds_together() {
    let compose = documents("compose/compose.yaml").remove(0);
    let services = compose["services"].as_object().unwrap();
    let doors = services.values().filter(|service| service["environment"]["CLONYVOICE_ROLE"] == "api").count();
    let workers = services.values().filter(|service| service["command"][0] == "work").count();
    assert_eq!((doors, workers), (2, 2));
    for (name, service) in services {
        assert!(service["image"].is_string(), "{name} has no image");
        for (other, condition) in service["depends_on"].as_object().into_iter().flatten() {
            assert!(services.contains_key(other), "{name} waits for {other}");
            if condition["condition"] == "service_healthy" {
                assert!(services[other]["healthcheck"]["test"].is_array(), "{other} has no health check");
            }
        }
        for volume in service["volumes"].as_array().into_iter().flatten() {
            let source = volume.as_str().unwrap().split(':').next().unwrap();
            match source.strip_prefix("./") {
                // The key is written by whoever installs it.
                Some("prometheus.key") => {}
                Some(file) => assert!(deploy().join("compose").join(file).is_file(), "{name}: {file}"),
                None => assert!(compose["volumes"][source].is_object(), "{name}: the volume {source} is not declared"),
            }
        }
        check_variables(service["environment"].as_object().into_iter().flatten());
    }
    assert_eq!(documents("compose/collector.yaml")[0]["service"]["pipelines"]["traces"]["receivers"][0], "otlp");
    for target in documents("compose/prometheus.yaml")[0]["scrape_configs"][0]["static_configs"][0]["targets"].as_array().unwrap() {
        let host = target.as_str().unwrap().split(':').next().unwrap();
        let allowed = services[host]["environment"]["CLONYVOICE_ALLOWED_HOSTS"].as_str().unwrap();
        assert!(allowed.split(',').any(|name| name == host), "{host} is refused by its Host header");
    }
}

#[test]
fn the_kubernetes_manifests_hold_together() {
    let all = documents("kubernetes/clonyvoice.yaml");
    let of = |kind: &'static str| all.iter().filter(move |object| object["kind"] == kind);
    let deployments: Vec<&Value> = of("Deployment").collect();
    let labels: Vec<&Value> = deployments.iter().map(|object| &object["spec"]["template"]["metadata"]["labels"]).collect();
    let selects = |selector: &Value, labels: &Value| selector.as_object().unwrap().iter().all(|(name, value)| labels[name] == *value);
    for object in &all {
        assert!(object["apiVersion"].is_string() && object["metadata"]["name"].is_string(), "{object}");
    }
    for deployment in &deployments {
        let spec = &deployment["spec"];
        assert!(selects(&spec["selector"]["matchLabels"], &spec["template"]["metadata"]["labels"]), "{deployment}");
        let pod = &spec["template"]["spec"];
        let container = &pod["containers"][0];
        let ports: Vec<&Value> = container["ports"].as_array().into_iter().flatten().map(|port| &port["name"]).collect();
        for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
            if let Some(get) = container[probe]["httpGet"].as_object() {
                assert!(ports.contains(&&get["port"]) && ["/readyz", "/healthz"].contains(&get["path"].as_str().unwrap()), "{get:?}");
                // By the address of the pod the server would refuse it.
                assert_eq!(get["httpHeaders"][0]["value"], "localhost");
            }
        }
        let volumes: Vec<&Value> = pod["volumes"].as_array().unwrap().iter().map(|volume| &volume["name"]).collect();
        assert!(container["volumeMounts"].as_array().unwrap().iter().all(|mount| volumes.contains(&&mount["name"])), "{container}");
        let map = &container["envFrom"][0]["configMapRef"]["name"];
        assert!(of("ConfigMap").any(|object| object["metadata"]["name"] == *map), "{map}");
        for variable in container["env"].as_array().unwrap() {
            check_variables([(&variable["name"].as_str().unwrap().to_owned(), &variable["value"])].into_iter());
        }
    }
    check_variables(of("ConfigMap").flat_map(|object| object["data"].as_object().unwrap()));
    assert!(deployments.iter().any(|object| object["spec"]["template"]["spec"]["containers"][0]["readinessProbe"].is_object()));
    assert_eq!(of("PodDisruptionBudget").count(), deployments.len());
    for budget in of("PodDisruptionBudget") {
        assert_eq!(labels.iter().filter(|labels| selects(&budget["spec"]["selector"]["matchLabels"], labels)).count(), 1, "{budget}");
    }
    for service in of("Service") {
        assert!(labels.iter().any(|labels| selects(&service["spec"]["selector"], labels)), "{service}");
    }
}

/// A panel that asks for a figure that is not there stays empty for ever.
#[tokio::test(flavor = "multi_thread")]
async fn the_dashboard_asks_for_figures_that_are_there() {
    let server = TestServer::scripted(script::at_once()).await;
    let told = server.client().get("/metrics").await.expect(200).body.to_vec();
    let told = String::from_utf8(told).unwrap();
    let families: Vec<&str> = told.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    assert!(families.len() > 15, "{families:?}");
    let dashboard: Value =
        serde_json::from_str(&std::fs::read_to_string(deploy().join("compose/grafana/clonyvoice.json")).unwrap()).unwrap();
    let mut asked = 0;
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().unwrap() {
            let text = target["expr"].as_str().unwrap();
            for word in
                text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_').filter(|word| word.starts_with("clonyvoice_"))
            {
                let family = word.strip_suffix("_bucket").unwrap_or(word);
                assert!(families.contains(&family), "{}: {word}", panel["title"]);
                asked += 1;
            }
        }
    }
    assert!(asked >= 12, "{asked}");
    assert_eq!(documents("compose/grafana/sources.yaml")[0]["datasources"][0]["uid"], dashboard["panels"][0]["datasource"]["uid"]);
}

#[test]
fn the_dockerfile_copies_what_the_build_makes() {
    let text = std::fs::read_to_string(deploy().join("Dockerfile")).unwrap();
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty() && !line.starts_with(' ')).collect();
    let known = ["FROM", "WORKDIR", "COPY", "RUN", "USER", "VOLUME", "EXPOSE", "ENV", "STOPSIGNAL", "ENTRYPOINT", "CMD"];
    for line in &lines {
        assert!(known.contains(&line.split(' ').next().unwrap()), "{line}");
    }
    for program in ["clonyvoice", "clonyvoice-espeak-host"] {
        assert!(program_path(program).is_file() && text.contains(&format!("target/release/{program} ")), "{program}");
    }
    let channel = std::fs::read_to_string(deploy().join("../rust-toolchain.toml")).unwrap();
    let version = channel.split("channel = \"").nth(1).unwrap().split('"').next().unwrap().trim_end_matches(".0");
    assert!(lines[0].starts_with(&format!("FROM rust:{version}-")), "{} and {version}", lines[0]);
    let last_user = lines.iter().rfind(|line| line.starts_with("USER ")).unwrap();
    assert_ne!(*last_user, "USER 0", "not as root");
    let variables = lines.iter().filter_map(|line| line.strip_prefix("ENV ")).flat_map(|line| line.split(' '));
    let pairs: Vec<(String, Value)> =
        variables.map(|pair| pair.split_once('=').map(|(name, value)| (name.into(), value.into())).unwrap()).collect();
    check_variables(pairs.iter().map(|(name, value)| (name, value)));
}
