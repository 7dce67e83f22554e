package flight

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// tempSuffix marks files that are being written; see removeTemps.
const tempSuffix = ".tmp"

// removeTemps removes what a crash left half written in dir.
func removeTemps(dir string) error {
	temps, err := filepath.Glob(filepath.Join(dir, "*"+tempSuffix))
	for _, path := range temps {
		err = errors.Join(err, os.Remove(path))
	}
	return err
}

// writeTemp writes data beside path, synced, and returns the temporary name.
func writeTemp(path string, data []byte, mode fs.FileMode) (string, error) {
	f, err := os.OpenFile(path+tempSuffix, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return "", err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		os.Remove(f.Name())
		return "", fmt.Errorf("write %s: %w", path, err)
	}
	return f.Name(), nil
}

// replaceFile puts data at path: after a crash there is the old file or the
// new one, never a part.
func replaceFile(path string, data []byte, mode fs.FileMode) error {
	tmp, err := writeTemp(path, data, mode)
	if err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// makeDir makes a directory and those above it that are missing, and makes their names
// durable: a log whose directory is gone after a loss of power would begin anew.
func makeDir(path string) error {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return nil
	}
	above := filepath.Dir(path)
	if above == path {
		return fmt.Errorf("make %s: there is no such directory", path)
	}
	if err := makeDir(above); err != nil {
		return err
	}
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(above)
}

// syncDir makes new, renamed and removed names in dir durable.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = errors.Join(f.Sync(), f.Close())
	if err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	return nil
}
