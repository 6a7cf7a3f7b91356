/*
 * Preloaded into iscsi-test-cu while units change their owner: sends a command again where a stock initiator does. The
 * tool takes for the answer what only says that nothing was done: UNIT ATTENTION, ASYMMETRIC ACCESS STATE CHANGED (SPC-4
 * 5.15.2), once for each change, and BUSY. Each time is told, so that it can be counted.
 *
 * All commands go through iscsi_scsi_command_async(), those of the library's own synchronous calls, too. The library sends
 * some by itself: the TEST UNIT READY of a login it repeats itself, and waits for that before anything else is sent.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	ACCESS_STATE_CHANGED = 0x2A06,
	/* Linux gives a disk as many. */
	MOST_TIMES = 5,
	/* It is not for ever that a unit is busy, and 30 s end the whole test. */
	BUSY_PAUSE_US = 100000,
};

typedef int command_fn(struct iscsi_context *iscsi, int lun, struct scsi_task *task, iscsi_command_cb callback,
		       struct iscsi_data *data, void *private_data);

typedef struct scsi_task *sync_fn(struct iscsi_context *iscsi, int lun, struct scsi_task *task, struct iscsi_data *data);

struct sent {
	struct scsi_task *task;
	iscsi_command_cb callback;
	void *private_data;
	/* Whether the library repeats it by itself. */
	int by_library;
	int times;
};

/* The tool is about to send a command and to wait for it. */
static int by_tool;

static command_fn *next(void)
{
	return (command_fn *)dlsym(RTLD_NEXT, "iscsi_scsi_command_async");
}

/* Whether a stock initiator would send it again. */
static int is_to_come_again(struct sent *sent, int status)
{
	const struct scsi_sense *sense = &sent->task->sense;

	if (sent->by_library)
		return 0;
	switch (status) {
	case SCSI_STATUS_BUSY:
		printf("    [RETRIED] opcode 0x%02x after BUSY\n", sent->task->cdb[0]);
		usleep(BUSY_PAUSE_US);
		return 1;
	case SCSI_STATUS_CHECK_CONDITION:
		if (sense->key != SCSI_SENSE_UNIT_ATTENTION || sense->ascq != ACCESS_STATE_CHANGED ||
		    sent->times == MOST_TIMES)
			return 0;
		printf("    [RETRIED] opcode 0x%02x after ASYMMETRIC ACCESS STATE CHANGED\n", sent->task->cdb[0]);
		sent->times++;
		return 1;
	default:
		return 0;
	}
}

/* As if it had never been sent: the library goes on where it was with the data. */
static void renew(struct scsi_task *task)
{
	free(task->datain.data);
	memset(&task->datain, 0, sizeof(task->datain));
	memset(&task->sense, 0, sizeof(task->sense));
	task->iovector_in.offset = task->iovector_out.offset = 0;
	task->iovector_in.consumed = task->iovector_out.consumed = 0;
}

static void on_answer(struct iscsi_context *iscsi, int status, void *command_data, void *private_data)
{
	struct sent *sent = private_data;

	if (is_to_come_again(sent, status)) {
		renew(sent->task);
		/* What it was given to send is with the task since the first time. */
		if (next()(iscsi, sent->task->lun, sent->task, on_answer, NULL, sent) == 0)
			return;
		status = SCSI_STATUS_ERROR;
	}
	sent->callback(iscsi, status, command_data, sent->private_data);
	free(sent);
}

int iscsi_scsi_command_async(struct iscsi_context *iscsi, int lun, struct scsi_task *task, iscsi_command_cb callback,
			     struct iscsi_data *data, void *private_data)
{
	struct sent *sent = malloc(sizeof(*sent));
	int result;

	if (!sent)
		abort();
	*sent = (struct sent){ .task = task, .callback = callback, .private_data = private_data };
	sent->by_library = task->cdb[0] == SCSI_OPCODE_TESTUNITREADY && !by_tool;
	by_tool = 0;
	result = next()(iscsi, lun, task, on_answer, data, sent);
	if (result != 0)
		free(sent);
	return result;
}

struct scsi_task *iscsi_scsi_command_sync(struct iscsi_context *iscsi, int lun, struct scsi_task *task,
					  struct iscsi_data *data)
{
	sync_fn *next = (sync_fn *)dlsym(RTLD_NEXT, "iscsi_scsi_command_sync");

	by_tool = 1;
	task = next(iscsi, lun, task, data);
	by_tool = 0;
	return task;
}
