//go:build !amd64 || purego

package gcm

import "crypto/cipher"

// vectorUsable tells that newVector may be called: never, where there is no such code.
func vectorUsable() bool { return false }

func newVector([]byte) cipher.AEAD { panic("bug: no vector code on this processor") }
