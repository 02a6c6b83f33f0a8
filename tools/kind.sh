#!/usr/bin/env bash
# make kind: a cluster on this machine, with the operator from this checkout, the simulated AWS beside it, and the
# samples. It can be run again: then it replaces what has changed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
cluster=amplify-operator
context="kind-$cluster"
namespace=amplify-operator-system

say() { echo "kind: $*"; }
need() {
  command -v "$1" >/dev/null || { echo "kind: $1 is needed: $2" >&2; exit 1; }
}
need kind "go install sigs.k8s.io/kind@v0.33.0 (https://kind.sigs.k8s.io)"
need kubectl "https://kubernetes.io/docs/tasks/tools"
need helm "https://helm.sh/docs/intro/install"
# buildah cannot write the archive that kind loads.
if [ -z "${ENGINE:-}" ]; then
  for engine in docker podman; do
    if command -v "$engine" >/dev/null && "$engine" info >/dev/null 2>&1; then
      ENGINE=$engine
      break
    fi
  done
fi
[ -n "${ENGINE:-}" ] || { echo "kind: docker or podman is needed, and its engine must be running" >&2; exit 1; }
export ENGINE

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

say "building the images; the first time about 12 minutes on 2 cores"
for target in operator simulator; do
  engine=$(tools/image.sh "$target" "localhost/amplify-$target:kind")
done
if ! kind get clusters 2>/dev/null | grep -qx "$cluster"; then
  say "creating the cluster $cluster"
  kind create cluster --name "$cluster" --wait 3m
fi
say "loading the images into the cluster"
for target in operator simulator; do
  "$engine" save --output "$work/$target.tar" "localhost/amplify-$target:kind"
  kind load image-archive "$work/$target.tar" --name "$cluster"
done

say "installing the simulated AWS and the operator"
# An image of the same name is another one after a change: the pods are replaced when the id changes.
id() { "$engine" inspect --type image --format '{{.Id}}' "localhost/amplify-$1:kind"; }
sed "s/IMAGE-ID/$(id simulator | tr -d :)/" deploy/kind/simulator.yaml >"$work/simulator.yaml"
kubectl --context "$context" apply --filename "$work/simulator.yaml"
kubectl --context "$context" --namespace amplify-simulator rollout status deployment/amplify-simulator --timeout 3m
helm upgrade amplify-operator charts/amplify-operator --install --kube-context "$context" \
  --namespace "$namespace" --create-namespace --values deploy/kind/values.yaml \
  --set-string "podAnnotations.image-id=$(id operator)" --wait --timeout 3m

say "applying deploy/samples, and waiting until all are Ready"
kubectl --context "$context" apply --filename deploy/samples
kubectl --context "$context" wait amplify --all --for condition=Ready --timeout 5m
kubectl --context "$context" get amplify
say "done. Go on with: kubectl --context $context get amplify --watch"
say "Remove all of it with: kind delete cluster --name $cluster"
