package main

// A small dynamic provisioner. Its "disks" are directories under one folder of the host, handed out as
// PersistentVolumes of type `local`, not hostPath: a hostPath gets no fsGroup, so a pod that is not root could not
// write there.
//
// A StorageClass says by its parameter `attach` who may mount a disk:
//   any    every node, like a network disk that follows its pod
//   node   only the node that the scheduler chose first
// A claim that asks for more gets it at once, where its class has allowVolumeExpansion (else the API server refuses that):
// a folder has no size, so only the numbers grow.
// Nothing fences a disk: two pods on two nodes can write to one at the same time, as with a network disk whose
// detachment was forced. The tests want exactly that.

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

const (
	provisionerName = "kubebox.local/disk"
	selectedNode    = "volume.kubernetes.io/selected-node"
	provisionedBy   = "pv.kubernetes.io/provisioned-by"
)

func provisionDisks(args []string) {
	flags := flag.NewFlagSet("disk-provisioner", flag.ExitOnError)
	kubeconfig := flags.String("kubeconfig", "", "kubeconfig file")
	root := flags.String("root", "/disks", "folder of the disks, at the same path on every node")
	every := flags.Duration("every", 300*time.Millisecond, "time between two looks at the API")
	flags.Parse(args) //nolint:errcheck // ExitOnError
	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	client := kubernetes.NewForConfigOrDie(config)
	for ; ; time.Sleep(*every) {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		for _, round := range []func(context.Context, kubernetes.Interface, string) error{deleteReleased, createWanted, growWanted} {
			if err := round(ctx, client, *root); err != nil {
				fmt.Fprintln(os.Stderr, time.Now().Format(time.RFC3339), err)
			}
		}
		cancel()
	}
}

// deleteReleased removes the disks whose claims are gone and whose class says Delete.
func deleteReleased(ctx context.Context, client kubernetes.Interface, root string) error {
	volumes, err := client.CoreV1().PersistentVolumes().List(ctx, metav1.ListOptions{ResourceVersion: "0"})
	if err != nil {
		return err
	}
	for i := range volumes.Items {
		volume := &volumes.Items[i]
		if volume.Annotations[provisionedBy] != provisionerName || volume.Spec.Local == nil ||
			volume.Status.Phase != corev1.VolumeReleased ||
			volume.Spec.PersistentVolumeReclaimPolicy != corev1.PersistentVolumeReclaimDelete {
			continue
		}
		if filepath.Dir(volume.Spec.Local.Path) != root {
			continue // not made by this provisioner: never remove a folder that it did not make
		}
		if err := os.RemoveAll(volume.Spec.Local.Path); err != nil {
			return err
		}
		if err := client.CoreV1().PersistentVolumes().Delete(ctx, volume.Name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			return err
		}
		fmt.Println("deleted", volume.Name)
	}
	return nil
}

// createWanted makes a disk for every claim that waits for one.
func createWanted(ctx context.Context, client kubernetes.Interface, root string) error {
	claims, err := client.CoreV1().PersistentVolumeClaims("").List(ctx, metav1.ListOptions{ResourceVersion: "0"})
	if err != nil {
		return err
	}
	for i := range claims.Items {
		claim := &claims.Items[i]
		if claim.Status.Phase != corev1.ClaimPending || claim.Spec.VolumeName != "" ||
			claim.Spec.StorageClassName == nil || *claim.Spec.StorageClassName == "" || claim.Annotations[selectedNode] == "" {
			continue
		}
		class, err := client.StorageV1().StorageClasses().Get(ctx, *claim.Spec.StorageClassName, metav1.GetOptions{})
		if err != nil || class.Provisioner != provisionerName {
			continue
		}
		policy := corev1.PersistentVolumeReclaimDelete
		if class.ReclaimPolicy != nil {
			policy = *class.ReclaimPolicy
		}
		name := "pvc-" + string(claim.UID)
		path := filepath.Join(root, name)
		if err := os.MkdirAll(path, 0o755); err != nil {
			return err
		}
		// fsGroup gives the group; the mode is what a freshly made disk would have for it.
		if err := os.Chmod(path, 0o777); err != nil {
			return err
		}
		volume := &corev1.PersistentVolume{
			ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{provisionedBy: provisionerName}},
			Spec: corev1.PersistentVolumeSpec{
				Capacity:                      corev1.ResourceList{corev1.ResourceStorage: claim.Spec.Resources.Requests[corev1.ResourceStorage]},
				AccessModes:                   claim.Spec.AccessModes,
				PersistentVolumeReclaimPolicy: policy,
				StorageClassName:              class.Name,
				MountOptions:                  class.MountOptions,
				ClaimRef: &corev1.ObjectReference{APIVersion: "v1", Kind: "PersistentVolumeClaim",
					Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID, ResourceVersion: claim.ResourceVersion},
				PersistentVolumeSource: corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: path}},
				NodeAffinity:           whoMayMount(class.Parameters["attach"], claim.Annotations[selectedNode]),
			},
		}
		if _, err := client.CoreV1().PersistentVolumes().Create(ctx, volume, metav1.CreateOptions{}); apierrors.IsAlreadyExists(err) {
			continue
		} else if err != nil {
			return err
		}
		fmt.Println("created", name, "for", claim.Namespace+"/"+claim.Name)
	}
	return nil
}

// growWanted does what a CSI driver's resizer does: the volume first, then what the claim says that it has.
func growWanted(ctx context.Context, client kubernetes.Interface, root string) error {
	claims, err := client.CoreV1().PersistentVolumeClaims("").List(ctx, metav1.ListOptions{ResourceVersion: "0"})
	if err != nil {
		return err
	}
	for i := range claims.Items {
		claim := claims.Items[i].DeepCopy()
		wanted, has := claim.Spec.Resources.Requests[corev1.ResourceStorage], claim.Status.Capacity[corev1.ResourceStorage]
		if claim.Status.Phase != corev1.ClaimBound || wanted.Cmp(has) <= 0 {
			continue
		}
		volume, err := client.CoreV1().PersistentVolumes().Get(ctx, claim.Spec.VolumeName, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			continue
		} else if err != nil {
			return err
		}
		if volume.Annotations[provisionedBy] != provisionerName {
			continue
		}
		volume.Spec.Capacity[corev1.ResourceStorage] = wanted
		if _, err := client.CoreV1().PersistentVolumes().Update(ctx, volume, metav1.UpdateOptions{}); apierrors.IsConflict(err) {
			continue // the next look
		} else if err != nil {
			return err
		}
		claim.Status.Capacity[corev1.ResourceStorage] = wanted
		if _, err := client.CoreV1().PersistentVolumeClaims(claim.Namespace).UpdateStatus(ctx, claim, metav1.UpdateOptions{}); apierrors.IsConflict(err) {
			continue
		} else if err != nil {
			return err
		}
		fmt.Println("grown", volume.Name, "to", wanted.String())
	}
	return nil
}

func whoMayMount(attach, node string) *corev1.VolumeNodeAffinity {
	who := corev1.NodeSelectorRequirement{Key: "kubernetes.io/os", Operator: corev1.NodeSelectorOpIn, Values: []string{"linux"}}
	if attach == "node" {
		who = corev1.NodeSelectorRequirement{Key: "kubernetes.io/hostname", Operator: corev1.NodeSelectorOpIn, Values: []string{node}}
	}
	return &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{
		NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{who}}}}}
}
