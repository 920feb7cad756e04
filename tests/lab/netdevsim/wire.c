// SPDX-License-Identifier: GPL-2.0
/* netdevsim, lab edition: what is really on the wire.
 *
 * Frames are counted by kind after the device's own encryption on transmit and
 * before its own decryption on receive, where no capture can look.  Files in
 * the port's debugfs folder:
 *   wire          counters and frames; writing anything clears them
 *   wire_pattern  up to 64 bytes in hex: frames that contain them are counted;
 *                 writing clears that count, an empty line searches nothing
 *   wire_esp      "SPI SEQUENCE IV" of each ESP frame sent since something was
 *                 written here, the first 65536 of them; before that nothing
 */
#include <linux/ctype.h>
#include <linux/debugfs.h>
#include <linux/etherdevice.h>
#include <linux/hex.h>
#include <linux/icmpv6.h>
#include <linux/if_vlan.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/mm.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/udp.h>
#include <linux/unaligned.h>
#include <net/ipv6.h>
#include <net/ndisc.h>

#include "netdevsim.h"

#define WIRE_HEAD	256	/* bytes of a frame that are kept and classified */
#define WIRE_PATTERN	64
#define WIRE_CHUNK	512
#define WIRE_NUMBERS	65536

enum wire_kind { WIRE_ESP, WIRE_ESP_IN_UDP, WIRE_IKE, WIRE_ARP_ND, WIRE_MULTICAST, WIRE_OTHER, WIRE_KINDS };

static const char * const wire_names[WIRE_KINDS] = {
	"esp", "esp_in_udp", "ike", "arp_nd", "multicast", "other"
};

struct wire_frame {
	u32 len;		/* on the wire; at most WIRE_HEAD bytes are kept */
	u8 head[WIRE_HEAD];
};

/* what of an ESP frame must never come twice under one key */
struct wire_number {
	u32 spi, seq;
	u64 iv;
};

struct wire_side {
	u64 frames, kinds[WIRE_KINDS], hits;
	const u8 *esp;		/* the ESP header in last.head; NULL: none, or a later fragment */
	struct wire_frame last, last_other;
	/* kind of the last first fragment, for those that follow it */
	u32 frag_id, frag_src;
	enum wire_kind frag_kind;
	bool frag_known;
};

struct nsim_wire {
	spinlock_t lock;
	struct wire_side side[2];	/* by enum nsim_wire_side */
	u8 pattern[WIRE_PATTERN];
	int pattern_len;
	u8 chunk[WIRE_CHUNK + WIRE_PATTERN];
	struct wire_number *numbers;	/* NULL: not asked for */
	u32 number_count, numbers_missed;
	struct dentry *file, *pattern_file, *numbers_file;
};

static enum wire_kind wire_udp_kind(const u8 *p, int len)
{
	u16 from, to, udp_len;

	if (len < 8)
		return WIRE_OTHER;
	from = get_unaligned_be16(p);
	to = get_unaligned_be16(p + 2);
	udp_len = get_unaligned_be16(p + 4);
	if (from == 500 || to == 500)
		return WIRE_IKE;
	if (from != 4500 && to != 4500)
		return WIRE_OTHER;
	if (udp_len == 9 && len >= 9 && p[8] == 0xff)
		return WIRE_IKE;			/* NAT keepalive */
	if (udp_len < 16 || len < 12)
		return WIRE_OTHER;
	return get_unaligned_be32(p + 8) ? WIRE_ESP_IN_UDP : WIRE_IKE;
}

static enum wire_kind wire_fragment_kind(struct wire_side *side, u32 id, u32 src)
{
	if (side->frag_known && side->frag_id == id && side->frag_src == src)
		return side->frag_kind;
	return WIRE_OTHER;
}

static void wire_remember_fragment(struct wire_side *side, u32 id, u32 src, enum wire_kind kind)
{
	side->frag_known = true;
	side->frag_id = id;
	side->frag_src = src;
	side->frag_kind = kind;
}

static enum wire_kind wire_ipv4_kind(struct wire_side *side, const u8 *p, int len)
{
	enum wire_kind kind = WIRE_OTHER;
	int hlen;
	u16 frag;

	if (len < 20)
		return WIRE_OTHER;
	hlen = (p[0] & 15) * 4;
	if (hlen < 20 || hlen > len)
		return WIRE_OTHER;
	frag = get_unaligned_be16(p + 6);
	if (p[9] == IPPROTO_ESP) {
		if (!(frag & 0x1fff))
			side->esp = p + hlen;
		return WIRE_ESP;
	}
	if (p[9] == IPPROTO_IGMP)
		return WIRE_MULTICAST;
	if (p[9] != IPPROTO_UDP)
		return WIRE_OTHER;
	if (frag & 0x1fff)
		return wire_fragment_kind(side, get_unaligned_be16(p + 4), get_unaligned_be32(p + 12));
	kind = wire_udp_kind(p + hlen, len - hlen);
	if (kind == WIRE_ESP_IN_UDP)
		side->esp = p + hlen + 8;
	if (frag & 0x2000)
		wire_remember_fragment(side, get_unaligned_be16(p + 4), get_unaligned_be32(p + 12), kind);
	return kind;
}

static enum wire_kind wire_ipv6_kind(struct wire_side *side, const u8 *p, int len)
{
	u32 src, id = 0;
	bool first_fragment = false;
	enum wire_kind kind;
	int off = 40;
	u8 next;

	if (len < 40)
		return WIRE_OTHER;
	next = p[6];
	src = get_unaligned_be32(p + 20);
	for (int i = 0; i < 8; i++) {
		int left = len - off;

		if (next == NEXTHDR_ESP) {
			side->esp = p + off;
			return WIRE_ESP;
		}
		if (left < 8)
			return WIRE_OTHER;
		switch (next) {
		case NEXTHDR_HOP:
		case NEXTHDR_ROUTING:
		case NEXTHDR_DEST:
			next = p[off];
			off += 8 * (p[off + 1] + 1);
			break;
		case NEXTHDR_FRAGMENT:
			next = p[off];
			id = get_unaligned_be32(p + off + 4);
			if (get_unaligned_be16(p + off + 2) & 0xfff8)
				return next == NEXTHDR_ESP ? WIRE_ESP : wire_fragment_kind(side, id, src);
			first_fragment = true;
			off += 8;
			break;
		case NEXTHDR_UDP:
			kind = wire_udp_kind(p + off, left);
			if (kind == WIRE_ESP_IN_UDP)
				side->esp = p + off + 8;
			if (first_fragment)
				wire_remember_fragment(side, id, src, kind);
			return kind;
		case NEXTHDR_ICMP:
			if (p[off] >= NDISC_ROUTER_SOLICITATION && p[off] <= NDISC_REDIRECT)
				return WIRE_ARP_ND;
			if ((p[off] >= ICMPV6_MGM_QUERY && p[off] <= ICMPV6_MGM_REDUCTION) ||
			    p[off] == ICMPV6_MLD2_REPORT)
				return WIRE_MULTICAST;
			return WIRE_OTHER;
		default:
			return WIRE_OTHER;
		}
	}
	return WIRE_OTHER;
}

static enum wire_kind wire_kind(struct wire_side *side, const u8 *p, int len)
{
	int off = 2 * ETH_ALEN;
	u16 proto;

	for (;;) {
		if (len < off + 2)
			return WIRE_OTHER;
		proto = get_unaligned_be16(p + off);
		if (proto != ETH_P_8021Q && proto != ETH_P_8021AD)
			break;
		off += VLAN_HLEN;
	}
	off += 2;
	switch (proto) {
	case ETH_P_ARP:
		return WIRE_ARP_ND;
	case ETH_P_IP:
		return wire_ipv4_kind(side, p + off, len - off);
	case ETH_P_IPV6:
		return wire_ipv6_kind(side, p + off, len - off);
	default:
		return WIRE_OTHER;
	}
}

static bool wire_contains(struct nsim_wire *wire, const struct sk_buff *skb)
{
	for (int off = 0; off < skb->len; off += WIRE_CHUNK) {
		int n = min_t(int, skb->len - off, WIRE_CHUNK + wire->pattern_len - 1);

		if (skb_copy_bits(skb, off, wire->chunk, n))
			return false;
		for (int i = 0; i + wire->pattern_len <= n; i++)
			if (!memcmp(wire->chunk + i, wire->pattern, wire->pattern_len))
				return true;
	}
	return false;
}

static void wire_note_number(struct nsim_wire *wire, const struct wire_side *side, int n)
{
	struct wire_number *number;

	if (!wire->numbers || !side->esp || side->esp + 16 > side->last.head + n)
		return;
	if (wire->number_count == WIRE_NUMBERS) {
		wire->numbers_missed++;
		return;
	}
	number = &wire->numbers[wire->number_count++];
	number->spi = get_unaligned_be32(side->esp);
	number->seq = get_unaligned_be32(side->esp + 4);
	number->iv = get_unaligned_be64(side->esp + 8);
}

/* skb->data is at the link header on transmit, behind it on receive */
void nsim_wire_count(struct nsim_wire *wire, struct sk_buff *skb, enum nsim_wire_side which)
{
	struct wire_side *side;
	enum wire_kind kind;
	int n;

	if (!wire)
		return;
	if (which == NSIM_WIRE_RX)
		__skb_push(skb, ETH_HLEN);
	spin_lock_bh(&wire->lock);
	side = &wire->side[which];
	n = min_t(int, skb->len, WIRE_HEAD);
	side->last.len = skb->len;
	if (skb_copy_bits(skb, 0, side->last.head, n))
		n = 0;
	side->esp = NULL;
	kind = wire_kind(side, side->last.head, n);
	if (which == NSIM_WIRE_TX)
		wire_note_number(wire, side, n);
	side->frames++;
	side->kinds[kind]++;
	if (kind == WIRE_OTHER)
		side->last_other = side->last;
	if (wire->pattern_len && wire_contains(wire, skb))
		side->hits++;
	spin_unlock_bh(&wire->lock);
	if (which == NSIM_WIRE_RX)
		__skb_pull(skb, ETH_HLEN);
}

static int wire_print_frame(char *buf, int size, const char *side, const char *name,
			    const struct wire_frame *frame)
{
	int n = scnprintf(buf, size, "%s %s_bytes=%u %s=", side, name, frame->len, name);

	for (int i = 0; i < min_t(int, frame->len, WIRE_HEAD); i++)
		n += scnprintf(buf + n, size - n, "%02x", frame->head[i]);
	n += scnprintf(buf + n, size - n, "\n");
	return n;
}

static ssize_t wire_read(struct file *filp, char __user *buffer, size_t count, loff_t *ppos)
{
	static const char * const names[] = { "tx", "rx" };
	struct nsim_wire *wire = filp->private_data;
	const int size = 4096;
	char *buf;
	int n = 0;
	ssize_t ret;

	buf = kzalloc(size, GFP_KERNEL);
	if (!buf)
		return -ENOMEM;
	spin_lock_bh(&wire->lock);
	for (int s = 0; s < 2; s++) {
		struct wire_side *side = &wire->side[s];

		n += scnprintf(buf + n, size - n, "%s frames=%llu", names[s], side->frames);
		for (int k = 0; k < WIRE_KINDS; k++)
			n += scnprintf(buf + n, size - n, " %s=%llu", wire_names[k], side->kinds[k]);
		n += scnprintf(buf + n, size - n, " pattern_hits=%llu\n", side->hits);
	}
	for (int s = 0; s < 2; s++) {
		n += wire_print_frame(buf + n, size - n, names[s], "last", &wire->side[s].last);
		n += wire_print_frame(buf + n, size - n, names[s], "last_other", &wire->side[s].last_other);
	}
	spin_unlock_bh(&wire->lock);
	ret = simple_read_from_buffer(buffer, count, ppos, buf, n);
	kfree(buf);
	return ret;
}

static ssize_t wire_clear(struct file *filp, const char __user *buffer, size_t count, loff_t *ppos)
{
	struct nsim_wire *wire = filp->private_data;

	spin_lock_bh(&wire->lock);
	memset(wire->side, 0, sizeof(wire->side));
	spin_unlock_bh(&wire->lock);
	return count;
}

static ssize_t wire_pattern_read(struct file *filp, char __user *buffer, size_t count, loff_t *ppos)
{
	struct nsim_wire *wire = filp->private_data;
	char buf[2 * WIRE_PATTERN + 2];
	char *end = buf;

	spin_lock_bh(&wire->lock);
	end = bin2hex(buf, wire->pattern, wire->pattern_len);
	spin_unlock_bh(&wire->lock);
	*end++ = '\n';
	return simple_read_from_buffer(buffer, count, ppos, buf, end - buf);
}

static ssize_t wire_pattern_write(struct file *filp, const char __user *buffer, size_t count,
				  loff_t *ppos)
{
	struct nsim_wire *wire = filp->private_data;
	u8 pattern[WIRE_PATTERN];
	char *text;
	int digits = 0;

	if (count > 4 * WIRE_PATTERN)
		return -EINVAL;
	text = memdup_user_nul(buffer, count);
	if (IS_ERR(text))
		return PTR_ERR(text);
	for (char *p = text; *p; p++)
		if (!isspace(*p))
			text[digits++] = *p;
	if (digits % 2 || digits > 2 * WIRE_PATTERN || hex2bin(pattern, text, digits / 2)) {
		kfree(text);
		return -EINVAL;
	}
	kfree(text);
	spin_lock_bh(&wire->lock);
	memcpy(wire->pattern, pattern, digits / 2);
	wire->pattern_len = digits / 2;
	wire->side[0].hits = 0;
	wire->side[1].hits = 0;
	spin_unlock_bh(&wire->lock);
	return count;
}

static void *wire_numbers_at(struct nsim_wire *wire, loff_t pos)
{
	return pos < READ_ONCE(wire->number_count) ? &wire->numbers[pos] : NULL;
}

static void *wire_numbers_start(struct seq_file *file, loff_t *pos)
{
	struct nsim_wire *wire = file->private;

	if (!*pos)
		seq_printf(file, "# %u frames, %u more were not kept\n", wire->number_count, wire->numbers_missed);
	return wire_numbers_at(wire, *pos);
}

static void *wire_numbers_next(struct seq_file *file, void *v, loff_t *pos)
{
	return wire_numbers_at(file->private, ++*pos);
}

static void wire_numbers_stop(struct seq_file *file, void *v)
{
}

static int wire_numbers_show(struct seq_file *file, void *v)
{
	const struct wire_number *number = v;

	seq_printf(file, "%08x %u %016llx\n", number->spi, number->seq, number->iv);
	return 0;
}

static const struct seq_operations wire_numbers_ops = {
	.start = wire_numbers_start,
	.next = wire_numbers_next,
	.stop = wire_numbers_stop,
	.show = wire_numbers_show,
};

static int wire_numbers_open(struct inode *inode, struct file *filp)
{
	int ret = seq_open(filp, &wire_numbers_ops);

	if (!ret)
		((struct seq_file *)filp->private_data)->private = inode->i_private;
	return ret;
}

static ssize_t wire_numbers_write(struct file *filp, const char __user *buffer, size_t count, loff_t *ppos)
{
	struct nsim_wire *wire = ((struct seq_file *)filp->private_data)->private;
	struct wire_number *fresh = NULL;

	if (!READ_ONCE(wire->numbers)) {
		fresh = kvcalloc(WIRE_NUMBERS, sizeof(*fresh), GFP_KERNEL);
		if (!fresh)
			return -ENOMEM;
	}
	spin_lock_bh(&wire->lock);
	if (!wire->numbers)
		swap(wire->numbers, fresh);
	wire->number_count = 0;
	wire->numbers_missed = 0;
	spin_unlock_bh(&wire->lock);
	kvfree(fresh);
	return count;
}

static const struct file_operations wire_numbers_fops = {
	.owner = THIS_MODULE,
	.open = wire_numbers_open,
	.read = seq_read,
	.llseek = seq_lseek,
	.release = seq_release,
	.write = wire_numbers_write,
};

static const struct file_operations wire_fops = {
	.owner = THIS_MODULE,
	.open = simple_open,
	.read = wire_read,
	.write = wire_clear,
};

static const struct file_operations wire_pattern_fops = {
	.owner = THIS_MODULE,
	.open = simple_open,
	.read = wire_pattern_read,
	.write = wire_pattern_write,
};

struct nsim_wire *nsim_wire_create(struct dentry *folder)
{
	struct nsim_wire *wire = kzalloc(sizeof(*wire), GFP_KERNEL);

	if (!wire)
		return NULL;
	spin_lock_init(&wire->lock);
	wire->file = debugfs_create_file("wire", 0600, folder, wire, &wire_fops);
	wire->pattern_file = debugfs_create_file("wire_pattern", 0600, folder, wire, &wire_pattern_fops);
	wire->numbers_file = debugfs_create_file("wire_esp", 0600, folder, wire, &wire_numbers_fops);
	return wire;
}

void nsim_wire_destroy(struct nsim_wire *wire)
{
	if (!wire)
		return;
	debugfs_remove(wire->file);
	debugfs_remove(wire->pattern_file);
	debugfs_remove(wire->numbers_file);
	kvfree(wire->numbers);
	kfree(wire);
}
