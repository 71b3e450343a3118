//go:build !purego

#include "go_asm.h"
#include "textflag.h"

// reverse is the shuffle that turns a block's bytes round, in each lane.
DATA reverse<>+0(SB)/8, $0x08090a0b0c0d0e0f
DATA reverse<>+8(SB)/8, $0x0001020304050607
GLOBL reverse<>(SB), RODATA|NOPTR, $16

// polynomial is x^127 + x^126 + x^121 + 1, whose upper half is what a reduction multiplies by.
DATA polynomial<>+0(SB)/8, $0x0000000000000001
DATA polynomial<>+8(SB)/8, $0xc200000000000000
GLOBL polynomial<>(SB), RODATA|NOPTR, $16

// lanes is what makes the counters 2, 3, 4 and 5 of the four lanes from J0, whose counter is 1 (SP 800-38D 7.1).
DATA lanes<>+0(SB)/8, $1
DATA lanes<>+8(SB)/8, $0
DATA lanes<>+16(SB)/8, $2
DATA lanes<>+24(SB)/8, $0
DATA lanes<>+32(SB)/8, $3
DATA lanes<>+40(SB)/8, $0
DATA lanes<>+48(SB)/8, $4
DATA lanes<>+56(SB)/8, $0
GLOBL lanes<>(SB), RODATA|NOPTR, $64

// step is what takes each lane's counter to its next block.
DATA step<>+0(SB)/8, $4
DATA step<>+8(SB)/8, $0
GLOBL step<>(SB), RODATA|NOPTR, $16

// Registers of crypt.
//
//	AX vector    BX last round key    SI source    DI destination    CX bytes left    DX direction    R11 what to hash
//	Z0-Z3 four blocks each    Z4, Z5, Z6 products: low, middle, high    Z7-Z9 scratch of the hash    X10 the hash
//	Z11 reverse    Z12 counters, bytes turned round    Z13 step    Z14 polynomial    Z15 round key
//
// Only Z0 to Z15: VZEROALL returns them to the state that a change of threads need not save.

// COUNTERS makes sixteen counter blocks.
#define COUNTERS \
	VPSHUFB Z11, Z12, Z0  \
	VPADDD  Z13, Z12, Z12 \
	VPSHUFB Z11, Z12, Z1  \
	VPADDD  Z13, Z12, Z12 \
	VPSHUFB Z11, Z12, Z2  \
	VPADDD  Z13, Z12, Z12 \
	VPSHUFB Z11, Z12, Z3  \
	VPADDD  Z13, Z12, Z12

// WHITEN4, ROUND4 and LAST4 are the steps of AES for sixteen blocks.
#define WHITEN4 \
	VBROADCASTI32X4 vector_keys(AX), Z15 \
	VPXORQ          Z15, Z0, Z0          \
	VPXORQ          Z15, Z1, Z1          \
	VPXORQ          Z15, Z2, Z2          \
	VPXORQ          Z15, Z3, Z3

#define ROUND4(n) \
	VBROADCASTI32X4 vector_keys+(16*n)(AX), Z15 \
	VAESENC         Z15, Z0, Z0                 \
	VAESENC         Z15, Z1, Z1                 \
	VAESENC         Z15, Z2, Z2                 \
	VAESENC         Z15, Z3, Z3

// LAST4 ends with the data added and stored.
#define LAST4 \
	VBROADCASTI32X4 (BX), Z15       \
	VAESENCLAST     Z15, Z0, Z0     \
	VAESENCLAST     Z15, Z1, Z1     \
	VAESENCLAST     Z15, Z2, Z2     \
	VAESENCLAST     Z15, Z3, Z3     \
	VPXORQ          (SI), Z0, Z0    \
	VPXORQ          64(SI), Z1, Z1  \
	VPXORQ          128(SI), Z2, Z2 \
	VPXORQ          192(SI), Z3, Z3 \
	VMOVDQU64       Z0, (DI)        \
	VMOVDQU64       Z1, 64(DI)      \
	VMOVDQU64       Z2, 128(DI)     \
	VMOVDQU64       Z3, 192(DI)     \
	ADDQ            $256, SI        \
	ADDQ            $256, DI        \
	SUBQ            $256, CX

// ROUND1 is a round for the four blocks in Z0, ROUND0 one for the block in X0.
#define ROUND1(n) \
	VBROADCASTI32X4 vector_keys+(16*n)(AX), Z15 \
	VAESENC         Z15, Z0, Z0

#define ROUND0(n) \
	VAESENC vector_keys+(16*n)(AX), X0, X0

	// NINE is the rounds that keys of all lengths have before the last.
#define NINE(round) \
	round(1) \
	round(2) \
	round(3) \
	round(4) \
	round(5) \
	round(6) \
	round(7) \
	round(8) \
	round(9)

// FOUR is those that keys of 32 bytes have in addition.
#define FOUR(round) \
	round(10) \
	round(11) \
	round(12) \
	round(13)

// MULTIPLY begins a sum of products, not reduced, with Z8 times Z9, lane by lane.
#define MULTIPLY \
	VPCLMULQDQ $0x00, Z9, Z8, Z4 \
	VPCLMULQDQ $0x01, Z9, Z8, Z5 \
	VPCLMULQDQ $0x10, Z9, Z8, Z7 \
	VPCLMULQDQ $0x11, Z9, Z8, Z6 \
	VPXORQ     Z7, Z5, Z5

// ADD adds Z8 times Z9 to the sum.
#define ADD \
	VPCLMULQDQ $0x00, Z9, Z8, Z7 \
	VPXORQ     Z7, Z4, Z4        \
	VPCLMULQDQ $0x11, Z9, Z8, Z7 \
	VPXORQ     Z7, Z6, Z6        \
	VPCLMULQDQ $0x01, Z9, Z8, Z7 \
	VPCLMULQDQ $0x10, Z9, Z8, Z8 \
	VPTERNLOGQ $0x96, Z7, Z8, Z5

// REDUCE leaves the sum in Z6, reduced in each lane by Montgomery's method, two folds of 64 bits.
#define REDUCE \
	VPCLMULQDQ $0x01, Z4, Z14, Z7 \
	VPSHUFD    $0x4e, Z4, Z4      \
	VPTERNLOGQ $0x96, Z7, Z4, Z5  \
	VPCLMULQDQ $0x01, Z5, Z14, Z7 \
	VPSHUFD    $0x4e, Z5, Z5      \
	VPTERNLOGQ $0x96, Z7, Z5, Z6

// FOLD adds the lanes of Z6 up into X10.
#define FOLD \
	VEXTRACTI64X4 $1, Z6, Y7  \
	VPXOR         Y7, Y6, Y6  \
	VEXTRACTI128  $1, Y6, X7  \
	VPXOR         X7, X6, X10

// BLOCKS loads the n-th four of the sixteen blocks at R11, turned round, and their powers.
#define BLOCKS(n) \
	VMOVDQU64 (64*n)(R11), Z8                 \
	VPSHUFB   Z11, Z8, Z8                     \
	VMOVDQU64 vector_powers+(32+64*n)(AX), Z9

// HASH0, HASH of 1 to 3, and HASH4 take the sixteen blocks at R11 into X10.
#define HASH0 \
	BLOCKS(0)          \
	VPXORQ Z10, Z8, Z8 \
	MULTIPLY

#define HASH(n) \
	BLOCKS(n) \
	ADD

#define HASH4 \
	REDUCE \
	FOLD

// func crypt(v *vector, j0 *block, extra *byte, extraLen int, dst, src *byte, n, direction int, tag *block)
TEXT ·crypt(SB), NOSPLIT, $0-72
	MOVQ v+0(FP), AX
	MOVQ j0+8(FP), R8
	MOVQ extra+16(FP), R9
	MOVQ extraLen+24(FP), R10
	MOVQ dst+32(FP), DI
	MOVQ src+40(FP), SI
	MOVQ n+48(FP), CX
	MOVQ direction+56(FP), DX
	MOVQ vector_rounds(AX), BX
	SHLQ $4, BX
	LEAQ vector_keys(AX)(BX*1), BX

	VBROADCASTI32X4 reverse<>(SB), Z11
	VBROADCASTI32X4 step<>(SB), Z13
	VBROADCASTI32X4 polynomial<>(SB), Z14
	VBROADCASTI32X4 (R8), Z12
	VPXOR           vector_keys(AX), X12, X0
	VPSHUFB         Z11, Z12, Z12
	VPADDD          lanes<>(SB), Z12, Z12

	NINE(ROUND0)
	CMPQ vector_rounds(AX), $14
	JNE  masked
	FOUR(ROUND0)

masked:
	VAESENCLAST (BX), X0, X0
	MOVQ        tag+64(FP), R8
	VMOVDQU     X0, (R8)

	// The additional data but for its last block, one after the other.
	VPXOR   X10, X10, X10
	VMOVDQU vector_powers+272(AX), X9

extra:
	CMPQ    R10, $16
	JLE     extraLast
	VMOVDQU (R9), X8
	VPSHUFB X11, X8, X8
	VPXOR   X10, X8, X8
	MULTIPLY
	REDUCE
	VMOVDQA X6, X10
	ADDQ    $16, R9
	SUBQ    $16, R10
	JMP     extra

extraLast:
	// Its last block, with zeros behind it, waits in X10 for its factor.
	MOVQ       $-1, R8
	BZHIQ      R10, R8, R8
	KMOVW      R8, K1
	VMOVDQU8.Z (R9), K1, X8
	VPSHUFB    X11, X8, X8
	VPXOR      X10, X8, X10

	XORL R10, R10
	CMPQ CX, $256
	JLT  rest

	// In front of so many blocks it gets one of its own.
	VMOVDQA X10, X8
	MULTIPLY
	REDUCE
	VMOVDQA X6, X10
	MOVQ    $16, R10

	MOVQ  SI, R11
	TESTQ DX, DX
	JNZ   blocks

	// What is sealed is hashed while the next is encrypted.
	MOVQ DI, R11
	COUNTERS
	WHITEN4
	NINE(ROUND4)
	CMPQ vector_rounds(AX), $14
	JNE  firstLast
	FOUR(ROUND4)

firstLast:
	LAST4
	CMPQ CX, $256
	JLT  sealed

blocks:
	COUNTERS
	WHITEN4
	HASH0
	ROUND4(1)
	ROUND4(2)
	HASH(1)
	ROUND4(3)
	ROUND4(4)
	HASH(2)
	ROUND4(5)
	ROUND4(6)
	HASH(3)
	ROUND4(7)
	ROUND4(8)
	HASH4
	ROUND4(9)
	CMPQ vector_rounds(AX), $14
	JNE  last
	FOUR(ROUND4)

last:
	LAST4
	ADDQ  $256, R11
	CMPQ  CX, $256
	JGE   blocks
	TESTQ DX, DX
	JNZ   rest

sealed:
	HASH0
	HASH(1)
	HASH(2)
	HASH(3)
	HASH4

rest:
	// Up to sixteen blocks, r of them, and the lengths. What waits in X10 is a block in front of them, times H^(r+2), or is
	// added to the first, times H^(r+1).
	LEAQ    15(CX), R8
	ANDQ    $-16, R8
	LEAQ    vector_powers+256(AX), R9
	SUBQ    R8, R9
	VMOVDQA X10, X8
	VMOVDQU (R9)(R10*1), X9
	MULTIPLY

four:
	TESTQ CX, CX
	JLE   lengths
	MOVQ  $-1, R8
	CMPQ  CX, $64
	JGE   whole
	BZHIQ CX, R8, R8

whole:
	KMOVQ           R8, K1
	VMOVDQU8.Z      (SI), K1, Z1
	VPSHUFB         Z11, Z12, Z0
	VPADDD          Z13, Z12, Z12
	VBROADCASTI32X4 vector_keys(AX), Z15
	VPXORQ          Z15, Z0, Z0
	NINE(ROUND1)
	CMPQ            vector_rounds(AX), $14
	JNE             lastOfFour
	FOUR(ROUND1)

lastOfFour:
	VBROADCASTI32X4 (BX), Z15
	VAESENCLAST     Z15, Z0, Z0
	VPXORQ          Z1, Z0, Z0
	VMOVDQU8        Z0, K1, (DI)
	TESTQ           DX, DX
	JNZ             add
	VMOVDQU8.Z      Z0, K1, Z1

add:
	// Behind a block that is not whole stand zeros, and so do the blocks that are missing, whatever their factor.
	VPSHUFB   Z11, Z1, Z8
	VMOVDQU64 16(R9), Z9
	ADD
	ADDQ      $64, SI
	ADDQ      $64, DI
	ADDQ      $64, R9
	SUBQ      $64, CX
	JMP       four

lengths:
	// In bits: of the data in the lower half, of the additional data in the upper one, since the block is turned round.
	MOVQ    n+48(FP), R8
	SHLQ    $3, R8
	MOVQ    extraLen+24(FP), R9
	SHLQ    $3, R9
	VMOVQ   R8, X8
	VPINSRQ $1, R9, X8, X8
	VMOVDQU vector_powers+272(AX), X9
	ADD
	REDUCE
	FOLD
	VPSHUFB X11, X10, X10
	MOVQ    tag+64(FP), R8
	VPXOR   (R8), X10, X10
	VMOVDQU X10, (R8)
	VZEROALL
	RET

// func multiply(products, factors *[4]block, by *block)
TEXT ·multiply(SB), NOSPLIT, $0-24
	MOVQ            products+0(FP), DI
	MOVQ            factors+8(FP), SI
	MOVQ            by+16(FP), DX
	VBROADCASTI32X4 polynomial<>(SB), Z14
	VMOVDQU64       (SI), Z8
	VBROADCASTI32X4 (DX), Z9
	MULTIPLY
	REDUCE
	VMOVDQU64       Z6, (DI)
	VZEROALL
	RET

// func subWord(word uint32) uint32
TEXT ·subWord(SB), NOSPLIT, $0-12
	MOVL             word+0(FP), AX
	VMOVD            AX, X0
	VPBROADCASTD     X0, X0
	VAESKEYGENASSIST $0, X0, X0
	VMOVD            X0, AX
	MOVL             AX, ret+8(FP)
	RET
